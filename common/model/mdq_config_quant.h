/* quantization_config of config.json; used by mdq_config_read only. */
#ifndef MDQ_CONFIG_QUANT_H
#define MDQ_CONFIG_QUANT_H

#include <jansson.h>

#include "mdq_config.h"

/* Fills storage, schemes and ignore from the object. A method or an option that we do not do is refused by name. */
enum mdq_err mdq_config_read_quant(struct mdq_config *c, const json_t *object, const char *file);

#endif
