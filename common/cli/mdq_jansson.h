/*
 * jansson and memory that runs out: its parser and printer take some failed allocations for the end of a string and
 * go on, with another value and no error. Allocations are therefore watched: after one has failed, no output takes its
 * final name and the program does not succeed.
 */
#ifndef MDQ_JANSSON_H
#define MDQ_JANSSON_H

#include "mdq_error.h"

/* Watches from now on; called by mdq_main before anything else. */
void mdq_jansson_watch(void);

/* MDQ_E_INTERNAL once an allocation of jansson's has failed in any thread. */
enum mdq_err mdq_jansson_check(void);

#endif
