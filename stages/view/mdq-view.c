/*
 * mdq-view: records as text, one line of JSON each, in the order of the stream. Scalars, lists and maps are printed so
 * that they read back the same; arrays as dtype and shape, with --stats their smallest, largest and mean element. Or,
 * with --table, a summary of what a stage found.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_cli.h"
#include "mdq_internal.h"    /* entries of a record, JSON */
#include "mdq_output.h"      /* -o */
#include "view_array_stats.h" /* the numbers of --stats */
#include "view_table.h"       /* --table */

struct opts {
    struct mdq_cli cli;
    struct mdq_strings inputs;
    bool header, stats, table;
    int kind; /* of table */
};

enum { KEY_HEADER = 1, KEY_STATS, KEY_TABLE };

static const struct argp_option options[] = {
    {"header", KEY_HEADER, 0, 0, "print the header and nothing else", 1},
    {"stats", KEY_STATS, 0, 0, "print minimum, maximum and mean of arrays, and a last line of totals", 1},
    {"table", KEY_TABLE, "WHAT", 0, "instead a table, a line for each layer: md (manifold distortions by class and constraints), "
                                    "lle (neighbourhoods), vae (charts, for each column block)", 1},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_HEADER: o->header = true; break;
    case KEY_STATS: o->stats = true; break;
    case KEY_TABLE:
        o->table = true;
        o->kind = mdq_arg_choice(state, "--table", arg, view_table_names);
        break;
    case ARGP_KEY_END:
        if (o->header + o->stats + o->table > 1 && o->table)
            argp_error(state, "--table goes with neither --header nor --stats");
        break;
    case ARGP_KEY_ARG: return mdq_strings_add(&o->inputs, arg) == MDQ_OK ? 0 : ENOMEM;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* ---- totals ---- */

struct totals {
    struct {
        char kind[64];
        long long records;
    } kinds[32];
    int n;
    long long records, arrays, nonfinite;
    double bytes; /* of arrays */
};

static void count_record(struct totals *t, const char *kind)
{
    int i = 0;
    while (i < t->n && strncmp(t->kinds[i].kind, kind, sizeof t->kinds[i].kind - 1) != 0)
        i++;
    t->records++;
    if (i == sizeof t->kinds / sizeof *t->kinds)
        return;
    if (i == t->n) {
        strncpy(t->kinds[i].kind, kind, sizeof t->kinds[i].kind - 1);
        t->n++;
    }
    t->kinds[i].records++;
}

static void print_totals(const struct totals *t, struct mdq_bytes *b)
{
    mdq_bytes_printf(b, "{\"totals\":{\"records\":%lld,\"kinds\":{", t->records);
    for (int i = 0; i < t->n; i++) {
        mdq_bytes_printf(b, "%s", i ? "," : "");
        mdq_mp_quote(b, t->kinds[i].kind, strlen(t->kinds[i].kind));
        mdq_bytes_printf(b, ":%lld", t->kinds[i].records);
    }
    mdq_bytes_printf(b, "},\"arrays\":%lld,\"array_bytes\":%.0f,\"nonfinite\":%lld}}\n", t->arrays, t->bytes, t->nonfinite);
}

/* ---- records ---- */

static enum mdq_err print_stats(struct mdq_record *r, struct mdq_entry *e, struct totals *t, struct mdq_bytes *b)
{
    struct mdq_array a;
    const char *why;
    enum mdq_err err = mdq_entry_array(e, &a, &why);
    if (err)
        return err == MDQ_E_DATA ? mdq_fail(err, "%s: %s", mdq_record_name(r), why) : err;
    struct view_array_stats s = view_array_stats(&a);
    mdq_bytes_printf(b, "{\"dtype\":\"%s\",\"shape\":[", mdq_dtype_name(a.dtype));
    for (int i = 0; i < a.ndim; i++)
        mdq_bytes_printf(b, "%s%lld", i ? "," : "", (long long)a.shape[i]);
    mdq_bytes_printf(b, "]");
    if (s.finite > 0)
        mdq_bytes_printf(b, ",\"min\":%.9g,\"max\":%.9g,\"mean\":%.9g", s.min, s.max, s.mean);
    if (s.count > s.finite)
        mdq_bytes_printf(b, ",\"nonfinite\":%lld", (long long)(s.count - s.finite));
    mdq_bytes_printf(b, "}");
    t->arrays++;
    t->bytes += (double)a.bytes;
    t->nonfinite += s.count - s.finite;
    return MDQ_OK;
}

static enum mdq_err print_record(const struct opts *o, struct mdq_record *r, struct totals *t, struct mdq_bytes *b)
{
    mdq_bytes_printf(b, "{\"t\":");
    mdq_mp_quote(b, r->kind, strlen(r->kind));
    mdq_bytes_printf(b, ",\"id\":[");
    mdq_mp_quote(b, r->tensor, strlen(r->tensor));
    mdq_bytes_printf(b, ",%lld,%lld],\"n\":%lld", (long long)r->row, (long long)r->col, t->records);
    count_record(t, r->kind);
    for (int i = 0; i < r->n; i++) {
        struct mdq_entry *e = &r->entries[i];
        struct mdq_layout l;
        bool is_array = false;
        const uint8_t *end, *value = mdq_entry_value(e, &end);
        mdq_bytes_printf(b, ",");
        mdq_mp_quote(b, e->raw + e->key_at, e->key_size);
        mdq_bytes_printf(b, ":");
        if (o->stats)
            mdq_layout_read(value, end, &l, &is_array);
        if (is_array)
            MDQ_TRY(print_stats(r, e, t, b));
        else
            mdq_mp_print(b, value, end, MDQ_MP_SUMMARY);
    }
    mdq_bytes_printf(b, "}\n");
    return b->failed ? MDQ_E_INTERNAL : MDQ_OK;
}

static enum mdq_err flush(struct mdq_output *out, struct mdq_bytes *b)
{
    enum mdq_err err = b->failed ? MDQ_E_INTERNAL : mdq_output_write(out, b->data, b->size);
    b->size = 0;
    return err;
}

static enum mdq_err print_all(const struct opts *o, struct mdq_reader *in, struct mdq_output *out, struct mdq_bytes *b)
{
    enum { PIECE = 64 << 10 };
    struct totals t = {0};
    struct mdq_record *r;
    for (;;) {
        enum mdq_err err = mdq_reader_next(in, &r);
        if (err) { /* what was read before is shown: it helps to find what is wrong */
            char *message = mdq_strdup(mdq_error_message());
            flush(out, b);
            err = mdq_error_set(err, message ? message : "out of memory");
            free(message);
            return err;
        }
        if (!r)
            break;
        MDQ_TRY(print_record(o, r, &t, b));
        if (b->size > PIECE)
            MDQ_TRY(flush(out, b));
    }
    if (o->stats)
        print_totals(&t, b);
    return MDQ_OK;
}

static enum mdq_err print_table(const struct opts *o, struct mdq_reader *in, struct mdq_output *out, struct mdq_bytes *b)
{
    struct view_table *t = NULL;
    struct mdq_record *r = NULL;
    enum mdq_err err = view_table_new(&t, (enum view_table_kind)o->kind, mdq_reader_header(in), b);
    while (!err && !(err = mdq_reader_next(in, &r)) && r) {
        size_t before = b->size;
        err = view_table_add(t, r, b);
        if (!err && b->size > before) /* whole lines, as they come */
            err = flush(out, b);
    }
    if (!err)
        err = view_table_end(t, b);
    view_table_free(&t);
    return err;
}

static enum mdq_err run(void *arg)
{
    struct opts *o = arg;
    struct mdq_reader *in = NULL;
    struct mdq_output *out = NULL;
    struct mdq_bytes b = {0};
    const struct mdq_reader_options ropts = {.threads = o->header ? 1 : o->cli.jobs};
    enum mdq_err err;
    MDQ_GOTO(err, mdq_reader_open(&in, o->inputs.v, o->inputs.n, &ropts), out);
    MDQ_GOTO(err, mdq_output_open(&out, o->cli.output, false), out);
    if (o->header) {
        char *text = mdq_header_json(mdq_reader_header(in));
        mdq_bytes_add(&b, text, text ? strlen(text) : 0);
        mdq_bytes_printf(&b, "\n");
        err = text ? MDQ_OK : MDQ_E_INTERNAL;
        free(text);
    } else if (o->table) {
        err = print_table(o, in, out, &b);
    } else {
        err = print_all(o, in, out, &b);
    }
    if (!err)
        err = flush(out, &b);
    if (!err)
        err = mdq_output_commit(&out);
out:
    mdq_output_abort(&out);
    mdq_bytes_free(&b);
    mdq_reader_close(&in);
    mdq_strings_free(&o->inputs);
    return err;
}

static const struct mdq_program program = {
    .name = "mdq-view",
    .args = "[STREAM...]",
    .doc = "Print records as lines of JSON.\v"
           "Several inputs are merged by identity first. e.g.:\n"
           "  mdq-view --stats tiles.mdq | jq -r '.id[0]' | uniq -c",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {0};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
