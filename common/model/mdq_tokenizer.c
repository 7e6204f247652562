/* The tokenizer as a whole: opening its files, the post-processor, encoding, decoding. */
#include "mdq_tokenizer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mdq_tokenizer_impl.h"

struct mdq_tokenizer {
    struct mdq_normalizer *normalizer;
    struct mdq_pretokenizer *pretokenizer;
    struct mdq_bpe *bpe;
    struct mdq_added *added;
    struct mdq_decoder *decoder;
    struct mdq_ids before, after; /* the post-processor's tokens */
    int32_t bos;
};

int32_t mdq_tokenizer_vocab(const struct mdq_tokenizer *t)
{
    int32_t limit = mdq_added_limit(t->added);
    return limit > mdq_bpe_vocab(t->bpe)->n ? limit : mdq_bpe_vocab(t->bpe)->n;
}

static int32_t id_of(const struct mdq_tokenizer *t, const char *token, size_t n)
{
    int32_t id = mdq_added_id(t->added, token, n);
    return id >= 0 ? id : mdq_vocab_id(mdq_bpe_vocab(t->bpe), token, n);
}

int32_t mdq_tokenizer_id(const struct mdq_tokenizer *t, const char *token)
{
    return id_of(t, token, strlen(token));
}

int32_t mdq_tokenizer_bos(const struct mdq_tokenizer *t)
{
    return t->bos;
}

/* ---- post-processor ---- */

/* Appends the ids of {"SpecialToken": {"id": name}} to *ids. */
static enum mdq_err template_token(const struct mdq_tokenizer *t, const json_t *item, const json_t *tokens,
                                   struct mdq_ids *ids)
{
    static const char where[] = "post_processor: TemplateProcessing";
    const char *name;
    size_t n;
    MDQ_TRY(mdq_tok_json_string(json_object_get(item, "SpecialToken"), "id", where, &name, &n));
    const json_t *list = json_object_get(json_object_get(tokens, name), "ids");
    if (!json_is_array(list))
        return mdq_fail(MDQ_E_DATA, "%s: special_tokens: '%s' is missing", where, name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= mdq_tokenizer_vocab(t))
            return mdq_fail(MDQ_E_DATA, "%s: special_tokens: '%s': an id that is no token's", where, name);
        MDQ_TRY(mdq_ids_add(ids, (int32_t)json_integer_value(v)));
    }
    return MDQ_OK;
}

static enum mdq_err template(struct mdq_tokenizer *t, const json_t *spec)
{
    const json_t *single = json_object_get(spec, "single"), *tokens = json_object_get(spec, "special_tokens");
    struct mdq_ids before = {0};
    enum mdq_err err = MDQ_OK;
    int texts = 0;
    for (size_t i = 0; !err && i < json_array_size(single); i++) {
        const json_t *item = json_array_get(single, i);
        if (json_object_get(item, "SpecialToken"))
            err = template_token(t, item, tokens, texts ? &t->after : &before);
        else {
            const json_t *id = json_object_get(json_object_get(item, "Sequence"), "id");
            texts += json_is_string(id) && !strcmp(json_string_value(id), "A") ? 1 : 2;
        }
    }
    if (!err && texts != 1)
        err = mdq_fail(MDQ_E_DATA, "post_processor: TemplateProcessing: single: does not hold sequence A once");
    for (int64_t i = 0; !err && i < t->before.n; i++) /* what earlier processors put in front stays next to the text */
        err = mdq_ids_add(&before, t->before.v[i]);
    mdq_ids_free(&t->before);
    t->before = before;
    return err;
}

static enum mdq_err post_processor(void *arg, const json_t *spec)
{
    const char *type;
    MDQ_TRY(mdq_tok_json_type(spec, "post_processor", &type));
    if (!strcmp(type, "ByteLevel")) /* trims offsets, which we do not give */
        return MDQ_OK;
    if (!strcmp(type, "TemplateProcessing"))
        return template(arg, spec);
    return mdq_fail(MDQ_E_DATA, "post_processor: %s: not supported", type);
}

/* ---- tokenizer_config.json ---- */

/* The id of config[key], a spelling or an object with `content`; -1 where it is null or absent. */
static enum mdq_err config_token(const struct mdq_tokenizer *t, const json_t *config, const char *key, bool needed,
                                 int32_t *id)
{
    const json_t *v = json_object_get(config, key);
    if (json_is_object(v))
        v = json_object_get(v, "content");
    *id = -1;
    if (!v || json_is_null(v))
        return MDQ_OK;
    if (!json_is_string(v))
        return mdq_fail(MDQ_E_DATA, "%s: no token", key);
    *id = id_of(t, json_string_value(v), json_string_length(v));
    if (*id < 0 && needed)
        return mdq_fail(MDQ_E_DATA, "%s: '%s' is not in the vocabulary of tokenizer.json", key, json_string_value(v));
    return MDQ_OK;
}

/*
 * add_bos_token and add_eos_token, where stated, overrule the post-processor: the token is there once, or not at all.
 * Where only one is stated the other stays as the post-processor has it.
 */
static enum mdq_err configure(struct mdq_tokenizer *t, const json_t *config)
{
    bool add_bos, add_eos;
    int32_t bos, eos;
    const json_t *bos_stated = json_object_get(config, "add_bos_token");
    const json_t *eos_stated = json_object_get(config, "add_eos_token");
    MDQ_TRY(mdq_tok_json_bool(config, "add_bos_token", false, "add_bos_token", &add_bos));
    MDQ_TRY(mdq_tok_json_bool(config, "add_eos_token", false, "add_eos_token", &add_eos));
    MDQ_TRY(config_token(t, config, "bos_token", add_bos, &bos));
    MDQ_TRY(config_token(t, config, "eos_token", add_eos, &eos));
    t->bos = bos >= 0 ? bos : t->bos;
    if (bos >= 0 && json_is_boolean(bos_stated)) {
        bool there = t->before.n > 0 && t->before.v[0] == t->bos;
        if (add_bos && !there) {
            MDQ_TRY(mdq_ids_add(&t->before, t->bos));
            memmove(t->before.v + 1, t->before.v, (size_t)(t->before.n - 1) * sizeof *t->before.v);
            t->before.v[0] = t->bos;
        } else if (!add_bos && there) {
            t->before.n--;
            memmove(t->before.v, t->before.v + 1, (size_t)t->before.n * sizeof *t->before.v);
        }
    }
    if (eos >= 0 && json_is_boolean(eos_stated)) {
        bool there = t->after.n > 0 && t->after.v[t->after.n - 1] == eos;
        if (add_eos && !there)
            MDQ_TRY(mdq_ids_add(&t->after, eos));
        else if (!add_eos && there)
            t->after.n--;
    }
    return MDQ_OK;
}

/* ---- opening ---- */

static enum mdq_err parse(struct mdq_tokenizer *t, const json_t *root)
{
    MDQ_TRY(mdq_bpe_parse(&t->bpe, json_object_get(root, "model")));
    MDQ_TRY(mdq_normalizer_parse(&t->normalizer, json_object_get(root, "normalizer")));
    MDQ_TRY(mdq_pretokenizer_parse(&t->pretokenizer, json_object_get(root, "pre_tokenizer")));
    MDQ_TRY(mdq_added_parse(&t->added, json_object_get(root, "added_tokens"), mdq_bpe_vocab(t->bpe), t->normalizer));
    MDQ_TRY(mdq_decoder_parse(&t->decoder, json_object_get(root, "decoder")));
    const json_t *post = json_object_get(root, "post_processor");
    if (post && !json_is_null(post))
        MDQ_TRY(mdq_tok_json_sequence(post, "processors", "post_processor", 0, post_processor, t));
    t->bos = t->before.n > 0 ? t->before.v[0] : -1;
    return MDQ_OK;
}

static enum mdq_err open_files(struct mdq_tokenizer *t, const char *path, const char *config_path)
{
    json_t *root = NULL;
    MDQ_TRY(mdq_tok_json_read(&root, path, false));
    enum mdq_err err = parse(t, root);
    json_decref(root);
    if (err)
        return mdq_fail_in(err, "%s", path);
    if (!config_path)
        return MDQ_OK;
    MDQ_TRY(mdq_tok_json_read(&root, config_path, true));
    if (!root)
        return MDQ_OK;
    err = configure(t, root);
    json_decref(root);
    return err ? mdq_fail_in(err, "%s", config_path) : MDQ_OK;
}

enum mdq_err mdq_tokenizer_open(struct mdq_tokenizer **out, const char *dir)
{
    *out = NULL;
    struct stat st;
    bool folder = stat(dir, &st) != 0 || S_ISDIR(st.st_mode);
    const char *slash = strrchr(dir, '/');
    size_t parent = folder ? strlen(dir) : slash ? (size_t)(slash - dir) : 0;
    const char *name = folder || slash ? "/tokenizer_config.json" : "tokenizer_config.json";
    char *path = folder ? mdq_asprintf("%s/tokenizer.json", dir) : mdq_strdup(dir);
    char *config = mdq_asprintf("%.*s%s", (int)parent, dir, name);
    struct mdq_tokenizer *t = mdq_calloc(1, sizeof *t, "tokenizer");
    enum mdq_err err = path && config && t ? open_files(t, path, config) : MDQ_E_INTERNAL;
    free(path);
    free(config);
    if (err)
        mdq_tokenizer_close(&t);
    *out = t;
    return err;
}

void mdq_tokenizer_close(struct mdq_tokenizer **tokenizer)
{
    struct mdq_tokenizer *t = *tokenizer;
    *tokenizer = NULL;
    if (!t)
        return;
    mdq_normalizer_free(t->normalizer);
    mdq_pretokenizer_free(t->pretokenizer);
    mdq_bpe_free(t->bpe);
    mdq_added_free(t->added);
    mdq_decoder_free(t->decoder);
    mdq_ids_free(&t->before);
    mdq_ids_free(&t->after);
    free(t);
}

/* ---- encoding ---- */

void mdq_scratch_free(struct mdq_scratch *w)
{
    mdq_matcher_free(w->matcher);
    mdq_tok_buf_free(&w->normal);
    mdq_tok_buf_free(&w->normal_spare);
    mdq_tok_buf_free(&w->text);
    mdq_tok_buf_free(&w->text_spare);
    mdq_pieces_free(&w->pieces);
    mdq_pieces_free(&w->pieces_spare);
    mdq_pieces_free(&w->found);
    mdq_bpe_scratch_free(w->bpe);
}

/* A stretch of normalized text without added tokens. */
static enum mdq_err encode_plain(const struct mdq_tokenizer *t, struct mdq_scratch *w, const char *s, size_t n,
                                 bool start, struct mdq_ids *ids)
{
    if (!t->pretokenizer)
        return mdq_bpe_encode(t->bpe, &w->bpe, s, n, ids);
    MDQ_TRY(mdq_pretokenizer_apply(t->pretokenizer, s, n, start, w));
    for (size_t i = 0; i < w->pieces.n; i++)
        MDQ_TRY(mdq_bpe_encode(t->bpe, &w->bpe, w->text.p + w->pieces.v[i].offset, w->pieces.v[i].size, ids));
    return MDQ_OK;
}

/* A stretch of the text between added tokens that are matched as written. */
static enum mdq_err encode_raw(const struct mdq_tokenizer *t, struct mdq_scratch *w, const char *s, size_t n,
                               bool start, struct mdq_segments *cuts, struct mdq_ids *ids)
{
    MDQ_TRY(mdq_normalizer_apply(t->normalizer, s, n, w));
    MDQ_TRY(mdq_added_split(t->added, true, w->normal.p, w->normal.n, cuts));
    for (size_t i = 0; i < cuts->n; i++) {
        const struct mdq_segment *c = &cuts->v[i];
        MDQ_TRY(c->id >= 0 ? mdq_ids_add(ids, c->id)
                           : encode_plain(t, w, w->normal.p + c->start, c->stop - c->start,
                                          start && c->start == 0, ids));
    }
    return MDQ_OK;
}

enum mdq_err mdq_tokenizer_encode(const struct mdq_tokenizer *t, const char *text, size_t size, bool special,
                                  struct mdq_ids *ids)
{
    if (size > MDQ_TOK_MAX_TEXT)
        return mdq_fail(MDQ_E_DATA, "text: %zu bytes, more than the %zu that are encoded at once", size,
                        MDQ_TOK_MAX_TEXT);
    size_t valid = mdq_utf8_valid_prefix(text, size);
    if (valid < size)
        return mdq_fail(MDQ_E_DATA, "text: byte %zu (0x%02X): no valid UTF-8", valid, (unsigned char)text[valid]);
    struct mdq_scratch w = {0};
    struct mdq_segments cuts = {0}, inner = {0};
    int64_t n = ids->n;
    enum mdq_err err = MDQ_OK;
    for (int64_t i = 0; special && !err && i < t->before.n; i++)
        err = mdq_ids_add(ids, t->before.v[i]);
    if (!err)
        err = mdq_added_split(t->added, false, text, size, &cuts);
    for (size_t i = 0; !err && i < cuts.n; i++) {
        const struct mdq_segment *c = &cuts.v[i];
        err = c->id >= 0 ? mdq_ids_add(ids, c->id)
                         : encode_raw(t, &w, text + c->start, c->stop - c->start, c->start == 0, &inner, ids);
    }
    for (int64_t i = 0; special && !err && i < t->after.n; i++)
        err = mdq_ids_add(ids, t->after.v[i]);
    if (err)
        ids->n = n;
    mdq_scratch_free(&w);
    free(cuts.v);
    free(inner.v);
    return err;
}

enum mdq_err mdq_tokenizer_decode(const struct mdq_tokenizer *t, const int32_t *ids, int64_t n, char **text,
                                  size_t *size)
{
    const struct mdq_vocab *vocab = mdq_bpe_vocab(t->bpe);
    struct mdq_tok_buf b = {0};
    struct mdq_pieces tokens = {0};
    enum mdq_err err = MDQ_OK;
    *text = NULL;
    *size = 0;
    for (int64_t i = 0; !err && i < n; i++) {
        if (ids[i] < 0 || ids[i] >= mdq_tokenizer_vocab(t)) {
            err = mdq_fail(MDQ_E_DATA, "token id %d: not within the vocabulary of %d", ids[i], mdq_tokenizer_vocab(t));
            break;
        }
        size_t len = 0, from = b.n;
        const char *s = mdq_added_token(t->added, ids[i], &len);
        if (!s && ids[i] < vocab->n && vocab->tokens[ids[i]].present) {
            s = vocab->pool + vocab->tokens[ids[i]].offset;
            len = vocab->tokens[ids[i]].size;
        }
        if (!s) /* a gap in the ids has no text */
            continue;
        err = mdq_tok_buf_add(&b, s, len);
        if (!err)
            err = mdq_pieces_add(&tokens, from, len, false);
    }
    if (!err)
        err = mdq_decoder_apply(t->decoder, &b, &tokens);
    mdq_pieces_free(&tokens);
    if (!err)
        err = mdq_tok_buf_add(&b, "", 1); /* ends it as a C string too */
    if (err)
        mdq_tok_buf_free(&b);
    else {
        *text = b.p;
        *size = b.n - 1;
    }
    return err;
}
