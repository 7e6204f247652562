/* The plan: what the result will hold, decided from the model, the options and the first layer that arrives. */
#ifndef PACK_PLAN_H
#define PACK_PLAN_H

#include "mdq_model.h"
#include "pack_format.h"

/*
 * Fills p->entries and what the first layer tells; p->format, source, dense_type and keep are set before. asked_group:
 * that of the provenance chain, 0: unknown; it decides where the first layer is one whole-row group. Layers that the
 * format cannot hold are an error that names them, or stay in full precision with p->keep.
 */
enum mdq_err pack_plan_make(struct pack_plan *p, const struct mdq_model *m, const struct mdq_qlayer *first,
                            int64_t asked_group);
/* Checks an arrived layer against the plan, and notes in its entry what the report tells of it. */
enum mdq_err pack_plan_arrived(struct pack_plan *p, struct pack_entry *e, struct mdq_qlayer *l);
void pack_plan_free(struct pack_plan *p);

#endif
