/* The files of a model folder that are not weights: carried over as they are, config.json with one key more. */
#ifndef PACK_FOLDER_H
#define PACK_FOLDER_H

#include "mdq_error.h"

/* The file that marks a folder as a result of mdq-pack, which may then be replaced: the report. */
#define PACK_MARKER "mdq-report.json"

/*
 * Copies every file of the folder `from`, and of its folders, to `to` byte for byte, except: at the top, weights
 * (*.safetensors and their index), config.json, quantize_config.json and an earlier report; anywhere, folders whose
 * name begins with a dot (.git, .cache). Links are followed.
 */
enum mdq_err pack_folder_copy(const char *from, const char *to);

/*
 * Writes to/config.json: that of `from` with "quantization_config" put last; every other byte stays. `quantization` is
 * JSON text, or NULL: config.json is copied. MDQ_E_DATA when the key is there already.
 */
enum mdq_err pack_folder_config(const char *from, const char *to, const char *quantization);
/* The text that pack_folder_config writes, a new string in *out. `name` is for messages. */
enum mdq_err pack_config_splice(const char *name, const char *config, const char *quantization, char **out);

/* Writes a text file, atomically. */
enum mdq_err pack_folder_text(const char *dir, const char *name, const char *text);

/* MDQ_E_USAGE when `out` is the folder `model` or lies inside it. */
enum mdq_err pack_folder_apart(const char *model, const char *out);

#endif
