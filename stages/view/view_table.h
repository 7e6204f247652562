/*
 * Tables of what the stages found, for mdq-view --table: a line for each layer (vae: for each column block), written as
 * soon as the layer's last record was seen, and a line of totals.
 */
#ifndef VIEW_TABLE_H
#define VIEW_TABLE_H

#include "mdq.h"
#include "mdq_pack.h" /* the text is appended to bytes */

enum view_table_kind { VIEW_TABLE_MD, VIEW_TABLE_LLE, VIEW_TABLE_VAE };
/* For mdq_arg_choice, in the order above. */
extern const char *const view_table_names[];

struct view_table;
/* The heading is appended to `text`. The header must live as long as the table. */
enum mdq_err view_table_new(struct view_table **out, enum view_table_kind kind, const struct mdq_header *h,
                            struct mdq_bytes *text);
enum mdq_err view_table_add(struct view_table *t, struct mdq_record *r, struct mdq_bytes *text);
/* The last layer and the totals. MDQ_E_DATA when the stream held nothing for such a table. */
enum mdq_err view_table_end(struct view_table *t, struct mdq_bytes *text);
void view_table_free(struct view_table **t);

/* The q-quantile (0 to 1) of n sorted values, n >= 1, linear between neighbours. */
double view_quantile(const float *sorted, int64_t n, double q);

#endif
