/*
 * JSON files of a model folder: read whole with a bound on their size, and members taken with their type and range
 * checked. Every message names the file and the member.
 */
#ifndef MDQ_JSON_H
#define MDQ_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "mdq_error.h"

/*
 * Parses the file's one JSON object; duplicate keys are refused. MDQ_E_IO: missing or unreadable; MDQ_E_DATA: empty,
 * longer than `max` bytes, not JSON (with line and column), or not an object. *out is released with json_decref.
 */
enum mdq_err mdq_json_read(json_t **out, const char *path, size_t max);

/* The same for text in memory that is called `name` in messages. */
enum mdq_err mdq_json_parse(json_t **out, const char *text, size_t size, const char *name);

/* An object with its place for messages: "dir/config.json" and "rope_scaling." (or ""). */
struct mdq_json_at {
    const char *file, *prefix;
    const json_t *object;
};

/* Each leaves *out as it was when the member is absent or null. */
enum mdq_err mdq_json_int(const struct mdq_json_at *at, const char *key, int64_t min, int64_t max, int *out);
enum mdq_err mdq_json_bool(const struct mdq_json_at *at, const char *key, bool *out);
/* A finite number, min <= v <= max; integers are taken too. */
enum mdq_err mdq_json_number(const struct mdq_json_at *at, const char *key, double min, double max, double *out);
/* The string lives as long as the object. */
enum mdq_err mdq_json_string(const struct mdq_json_at *at, const char *key, const char **out);

/* MDQ_E_DATA unless the member is there and not null. */
enum mdq_err mdq_json_need(const struct mdq_json_at *at, const char *key);

#endif
