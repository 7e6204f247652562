/* The report of a packed model, JSON: what became of every layer, sizes, what the stream says of its making. */
#ifndef PACK_REPORT_H
#define PACK_REPORT_H

#include "pack_plan.h"
#include "pack_write.h"

/* The text, ending in a newline, to be released with free(). `provenance` is a JSON list. */
enum mdq_err pack_report_make(char **text, const struct mdq_model *m, const struct pack_plan *p,
                              const struct pack_totals *totals, const char *provenance);

#endif
