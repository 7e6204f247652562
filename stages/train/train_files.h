/* What mdq-train keeps: checkpoints to go on from, and the finished model folder. Both appear whole or not at all. */
#ifndef MDQ_TRAIN_FILES_H
#define MDQ_TRAIN_FILES_H

#include <jansson.h>

#include "train_params.h"

/*
 * A checkpoint is a folder: train.json ({"step", "settings", "state"}) and float32 safetensors with the weights under
 * their own names and the moments as "m.NAME" and "v.NAME". `settings` and `state` are borrowed.
 */
enum mdq_err train_checkpoint_save(const char *dir, const struct train_params *p, int64_t step, json_t *settings,
                                   json_t *state);
/* MDQ_E_USAGE, naming the setting, when `settings` differs from the checkpoint's. *state: released by the caller. */
enum mdq_err train_checkpoint_load(const char *dir, struct train_params *p, int64_t *step, json_t *settings,
                                   json_t **state);

/*
 * Writes the model folder `out`: config.json of the folder `source` with the new dtype, weights as `dtype` (f32 or
 * bf16), the tokenizer files of `tokenizer`. `out` may be one of those folders.
 */
enum mdq_err train_model_write(const char *out, const struct train_params *p, enum mdq_dtype dtype,
                               const char *source, const char *tokenizer);
/* Fails as train_model_write would where `out` cannot be written: better known before training than after. */
enum mdq_err train_model_probe(const char *out);

#endif
