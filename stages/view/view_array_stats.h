/* Minimum, maximum and mean of an array of any element type. */
#ifndef VIEW_ARRAY_STATS_H
#define VIEW_ARRAY_STATS_H

#include "mdq.h"

struct view_array_stats {
    int64_t count, finite;  /* elements; those that are neither NaN nor infinite */
    double min, max, mean;  /* of the finite ones; 0 when there are none */
};
struct view_array_stats view_array_stats(const struct mdq_array *a);

#endif
