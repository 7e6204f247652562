/* What scoring found, as keys of tile records and as probe records. */
#ifndef SCORE_RECORDS_H
#define SCORE_RECORDS_H

#include "score_label.h"

/* Adds reasons, ranks, scores, label, md_target and the shifts of what is to be moved to a tile. MDQ_E_DATA: labelled already. */
enum mdq_err score_put_tile(struct mdq_record *rec, const struct score_search *s, const struct score_labels *l, int layer, int64_t tile_row,
                            int64_t tile_col);
/* A probe: what was moved, the model and texts it was measured on, losses and differences with their intervals. */
enum mdq_err score_put_probe(struct mdq_record *rec, const struct score_search *s, int64_t probe);

/* A word for a class of measurements: "perplexity", "h_sens"; NULL beyond the last. */
const char *score_measure_name(int measure);

#endif
