/*
 * Any tokenizer.json: it opens or is refused, and one that opens encodes and decodes without reading or writing where
 * it must not. `fuzz_tokenizer FILE` takes FILE; without arguments, small valid files are mutated, always the same way,
 * for at most some seconds: bytes changed, and JSON values exchanged for others of the file or for awkward ones.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "mdq_tokenizer.h"

enum { ROUNDS = 6000 };
#define SECONDS 2.0 /* of processor time */

/* JSON with ` for " */
static const char *const seeds[] = {
    "{`added_tokens`:[{`id`:0,`content`:`<unk>`,`normalized`:false},{`id`:9,`content`:` x `,`lstrip`:true,"
    "`rstrip`:true,`single_word`:true,`normalized`:true}],`normalizer`:{`type`:`Sequence`,"
    "`normalizers`:[{`type`:`Prepend`,`prepend`:`_`},{`type`:`Replace`,`pattern`:{`String`:` `},"
    "`content`:`_`}]},`post_processor`:{`type`:`TemplateProcessing`,"
    "`single`:[{`SpecialToken`:{`id`:`s`}},{`Sequence`:{`id`:`A`}}],`special_tokens`:{`s`:{`ids`:[1,2]}}},"
    "`decoder`:{`type`:`Sequence`,`decoders`:[{`type`:`Replace`,`pattern`:{`String`:`_`},"
    "`content`:` `},{`type`:`ByteFallback`},{`type`:`Fuse`},{`type`:`Strip`,`content`:` `,`start`:1,"
    "`stop`:1}]},`model`:{`type`:`BPE`,`unk_token`:`<unk>`,`fuse_unk`:true,`byte_fallback`:true,"
    "`vocab`:{`<unk>`:0,`<0xC3>`:1,`<0xA9>`:2,`a`:3,`b`:4,`ab`:5,`_`:6,`_a`:7,`_ab`:8},`merges`:[`a b`,[`_`,"
    "`ab`],`_ a`]}}",
    "{`normalizer`:{`type`:`NFC`},`pre_tokenizer`:{`type`:`Sequence`,`pretokenizers`:[{`type`:`Split`,"
    "`pattern`:{`Regex`:`(?i:"
    "'s|'t)|[^\\\\r\\\\n\\\\p{L}]?\\\\p{L}+|\\\\p{N}{1,3}+|\\\\s+(?!\\\\S)|\\\\w\\\\b`},"
    "`behavior`:`Isolated`,`invert`:false},{`type`:`ByteLevel`,`add_prefix_space`:true,`use_regex`:false}]},"
    "`post_processor`:{`type`:`Sequence`,`processors`:[{`type`:`ByteLevel`}]},"
    "`decoder`:{`type`:`ByteLevel`},`model`:{`type`:`BPE`,`ignore_merges`:true,`vocab`:{`a`:0,`b`:1,"
    "`\\u0120`:2,`\\u0120a`:3,`\\u00c3`:4,`\\u00a9`:5,`\\u00c3\\u00a9`:6},`merges`:[`\\u0120 a`,"
    "`\\u00c3 \\u00a9`]}}",
    "{`normalizer`:{`type`:`Sequence`,"
    "`normalizers`:[{`type`:`NFKD`},{`type`:`StripAccents`},{`type`:`Lowercase`},{`type`:`Strip`,"
    "`strip_left`:true,`strip_right`:true},{`type`:`Replace`,`pattern`:{`Regex`:`x*`},`content`:`a`}]},"
    "`pre_tokenizer`:{`type`:`Sequence`,`pretokenizers`:[{`type`:`Metaspace`,`replacement`:`_`,"
    "`prepend_scheme`:`first`,`split`:true},{`type`:`Digits`,"
    "`individual_digits`:true},{`type`:`Punctuation`,"
    "`behavior`:`MergedWithNext`},{`type`:`Whitespace`},{`type`:`WhitespaceSplit`},{`type`:`Split`,"
    "`pattern`:{`String`:`a`},`behavior`:`Contiguous`,`invert`:true}]},`decoder`:{`type`:`Metaspace`,"
    "`replacement`:`_`},`model`:{`type`:`BPE`,`vocab`:{`a`:0,`aa`:1,`aaaa`:2,`_`:3,`1`:4,``:5},"
    "`merges`:[`a a`,`aa aa`]}}",
};

static const char *const awkward[] = {
    "null", "true", "-1", "0", "1", "2", "4294967296", "1e300", "``", "`a`", "` `", "`\\u0000`",
    "`\\ud83d\\ude00`", "[]", "{}", "[[]]", "`Removed`", "`MergedWithPrevious`", "`NFD`", "`Sequence`",
    "{`type`:`Fuse`}", "{`Regex`:`[^\\\\w\\\\s]|$|^`}", "{`Regex`:`(?<=a)|(?:a|aa)*b`}", "{`Regex`:`\\\\`}",
    "{`Regex`:`a{,3}+`}",
};

static const char *const texts[] = {
    "", " ", "a ab  abab x  b\n\n", "_a\xC3\xA9:e\xCC\x81\xF0\x9F\x91\x8D 12345, <unk>a's 'T!",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

static uint64_t state = 0x2545F4914F6CDD1Du;

static uint32_t below(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) * n >> 32);
}

/* A seed or an awkward value, its ` made ". */
static json_t *parse(const char *text)
{
    char quoted[2048];
    size_t n = strlen(text);
    if (n >= sizeof quoted)
        abort();
    for (size_t i = 0; i <= n; i++)
        quoted[i] = text[i] == '`' ? '"' : text[i];
    return json_loads(quoted, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

static int try_file(const char *path)
{
    struct mdq_tokenizer *t;
    if (mdq_tokenizer_open(&t, path))
        return 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct mdq_ids ids = {0};
        char *back;
        size_t n;
        if (!mdq_tokenizer_encode(t, texts[i], strlen(texts[i]), i & 1, &ids)) {
            for (int64_t k = 0; k < ids.n; k++)
                if (ids.v[k] < 0 || ids.v[k] >= mdq_tokenizer_vocab(t))
                    abort();
            if (!mdq_tokenizer_decode(t, ids.v, ids.n, &back, &n))
                free(back);
        }
        mdq_ids_free(&ids);
    }
    mdq_tokenizer_close(&t);
    return 1;
}

/* The values of j, j itself included, in *v (room for n); how many there are. */
static size_t values(json_t *j, json_t **v, size_t n, size_t at)
{
    const char *key;
    json_t *x;
    size_t i;
    if (at < n)
        v[at++] = j;
    json_object_foreach(j, key, x)
        at = values(x, v, n, at);
    json_array_foreach(j, i, x)
        at = values(x, v, n, at);
    return at;
}

/* One member of one object or list is exchanged, removed or added. */
static void mutate_value(json_t *root)
{
    json_t *v[256];
    size_t n = values(root, v, 256, 0);
    json_t *at = v[below((uint32_t)n)];
    const char *odd = awkward[below(sizeof awkward / sizeof awkward[0])];
    json_t *by = below(2) ? json_deep_copy(v[below((uint32_t)n)]) : parse(odd);
    if (json_is_object(at) && json_object_size(at)) {
        uint32_t skip = below((uint32_t)json_object_size(at));
        void *it = json_object_iter(at);
        while (skip--)
            it = json_object_iter_next(at, it);
        if (below(8))
            json_object_set(at, json_object_iter_key(it), by);
        else
            json_object_del(at, json_object_iter_key(it));
    } else if (json_is_array(at) && json_array_size(at)) {
        if (below(4))
            json_array_set(at, below((uint32_t)json_array_size(at)), by);
        else
            json_array_append(at, by);
    } else if (json_is_integer(at))
        json_integer_set(at, (json_int_t)below(12) - 1);
    else if (json_is_string(at) && json_is_string(by))
        json_string_setn(at, json_string_value(by), json_string_length(by));
    json_decref(by);
}

static char *mutated(size_t *size)
{
    json_t *j = parse(seeds[below(sizeof seeds / sizeof seeds[0])]);
    for (uint32_t k = 1 + below(3); k; k--)
        mutate_value(j);
    char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(j);
    *size = text ? strlen(text) : 0;
    if (text && *size && below(8) == 0)
        for (uint32_t k = 1 + below(3); k; k--)
            text[below((uint32_t)*size)] = (char)(below(2) ? below(256) : (uint32_t)"\\\"{}[]|*+?^$"[below(12)]);
    if (text && *size && below(32) == 0)
        *size = below((uint32_t)*size);
    return text;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        try_file(argv[1]);
        return 0;
    }
    char path[64];
    int fd = memfd_create("tokenizer.json", 0), opened = 0, round = 0;
    if (fd < 0)
        return 3;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    clock_t start = clock();
    for (; round < ROUNDS && (double)(clock() - start) / CLOCKS_PER_SEC < SECONDS; round++) {
        size_t n;
        char *text = mutated(&n);
        if (!text || ftruncate(fd, 0) || pwrite(fd, text, n, 0) != (ssize_t)n)
            return 3;
        free(text);
        opened += try_file(path);
    }
    close(fd);
    fprintf(stderr, "%d of %d files opened\n", opened, round);
    return opened > round / 10 && opened < round ? 0 : 1; /* otherwise this tests one half only */
}
