#include "eval_metrics.h"
enum mdq_err eval_canary(const struct eval_opts *o, struct mdq_output *out) { (void)o; (void)out; return MDQ_E_INTERNAL; }
