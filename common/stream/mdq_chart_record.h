/* Charts in streams: a `chart` record (formats/charts.md, keys.md) to and from struct mdq_chart. */
#ifndef MDQ_CHART_RECORD_H
#define MDQ_CHART_RECORD_H

#include "mdq.h"
#include "mdq_chart.h"

/* Reads and prepares. MDQ_E_DATA naming record and key: a missing key, sizes that contradict each other or `dim_in`
 * (the columns of the column block), noise that is not above 0. *c is zero-initialised by the caller and released with mdq_chart_free. */
enum mdq_err mdq_chart_from_record(struct mdq_record *rec, int64_t dim_in, struct mdq_chart *c);
/* Adds the keys. */
enum mdq_err mdq_chart_to_record(const struct mdq_chart *c, struct mdq_record *rec);

#endif
