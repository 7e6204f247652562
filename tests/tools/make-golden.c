/*
 * Writes streams that must decode for ever: `make-golden FOLDER`. What was once put into tests/golden stays as it is; a
 * new version of the format adds files. `types` comes from the library's writer, the others are made by hand in ways
 * that the format allows and the library's writer does not use.
 */
#include "mdq.h"
#include "mdq_cli.h"
#include "stream_maker.h"

static void check(enum mdq_err err)
{
    if (err == MDQ_OK)
        return;
    fprintf(stderr, "make-golden: %s\n", mdq_error_message());
    exit((int)err);
}

/* Element i of every array: byte k of it is (5 i + 3 k + i / 7) mod 256, of floats with the sign bit's byte kept small. */
static void pattern(enum mdq_dtype t, int64_t n, uint8_t *out)
{
    size_t size = mdq_dtype_bits(t) >= 8 ? mdq_dtype_bits(t) / 8 : 1;
    bool is_float = t == MDQ_F16 || t == MDQ_BF16 || t == MDQ_F32 || t == MDQ_F64;
    uint8_t *codes = calloc((size_t)n + 1, 1);
    for (int64_t i = 0; i < n; i++) {
        for (size_t k = 0; k < size; k++) {
            uint8_t v = (uint8_t)(5 * i + 3 * (int64_t)k + i / 7);
            if (is_float && k == size - 1)
                v = (uint8_t)(0x3a + (i & 3) + (i & 4) * 32); /* moderate exponents, both signs */
            if (t == MDQ_BOOL)
                v &= 1;
            (mdq_dtype_bits(t) < 8 ? codes : out)[(size_t)i * size + k] = v;
        }
    }
    if (mdq_dtype_bits(t) < 8)
        mdq_bits_pack(codes, n, mdq_dtype_bits(t), out);
    free(codes);
}

static void set(struct mdq_record *r, const char *key, enum mdq_dtype t, int ndim, const int64_t *shape)
{
    static uint8_t data[1 << 16];
    struct mdq_array a = {.dtype = t, .ndim = ndim, .data = data};
    memcpy(a.shape, shape, (size_t)ndim * sizeof *shape);
    a.bytes = mdq_dtype_bytes(t, mdq_array_count(&a));
    pattern(t, mdq_array_count(&a), data);
    check(mdq_record_set_array(r, key, &a));
}

static void types(const char *folder)
{
    static const struct mdq_layer_entry layers[] = {{up_proj, 300, 64, 2, 1, 0}, {down_proj, 64, 300, 1, 2, 1}};
    char path[4096], key[32];
    struct mdq_header *h;
    struct mdq_writer *w;
    check(mdq_header_new(&h, "00112233445566778899aabbccddeeff", layers, 2));
    check(mdq_header_add_kind(h, "tile"));
    check(mdq_header_add_kind(h, "layer"));
    check(mdq_header_set_json(h, "calib", "{\"tokens\":1024,\"ctx\":64,\"text\":\"caf\\u00e9\",\"sequential\":false}"));
    check(mdq_header_add_provenance(h, NULL, "make-golden", "{\"b\":[1,2.5,null],\"a\":{\"nested\":true}}"));
    snprintf(path, sizeof path, "%s/types.mdq", folder);
    check(mdq_writer_open(&w, path, h, NULL));
    for (int l = 0; l < 2; l++) {
        struct mdq_record *r = mdq_record_new(&(struct mdq_id){layers[l].tensor, "layer", 0, 0});
        set(r, "scales", MDQ_F16, 2, (int64_t[]){300, 2});
        check(mdq_record_set_json(r, "qreport", "{\"error\":0.015625,\"clipped\":0,\"codes\":[-1,255,65536,-4294967296]}"));
        check(mdq_record_set_bool(r, "qsym", l == 1));
        check(mdq_record_set_int(r, "qbits", 3));
        check(mdq_record_set_f64(r, "x-pi", 3.141592653589793));
        check(mdq_record_set_str(r, "qmethod", "gptq"));
        check(mdq_writer_put(w, r));
        mdq_record_free(&r);
        for (int i = 0; i < 2; i++) {
            r = mdq_record_new(&(struct mdq_id){layers[l].tensor, "tile", l ? 0 : i, l ? i : 0});
            for (int t = 0; t < MDQ_DTYPE_COUNT; t++) { /* the first tile's arrays are short, the second's in planes */
                snprintf(key, sizeof key, "x-%s", mdq_dtype_name((enum mdq_dtype)t));
                set(r, key, (enum mdq_dtype)t, i ? 2 : 3, i ? (int64_t[]){61, 19} : (int64_t[]){3, 1, 5});
            }
            set(r, "x-scalar", MDQ_I32, 0, NULL);
            set(r, "x-nothing", MDQ_BF16, 4, (int64_t[]){2, 0, 3, 1});
            check(mdq_writer_put(w, r));
            mdq_record_free(&r);
        }
    }
    check(mdq_writer_finish(&w));
    mdq_header_free(&h);
}

/* Keys in any order, numbers in any width, frames cut anywhere between records, another level. */
static void other_writer(const char *folder)
{
    struct maker m;
    maker_begin(&m);
    m.level = 19;
    maker_header(&m);
    maker_record(&m, "layer", up_proj, 0, 0, 0);
    maker_frame(&m);
    m.level = 1;
    RAW(&m, "\xdf\0\0\0\x17" /* map 32 of 23 */
            "\xa5zebra\xc0\xd9\2id\xdd\0\0\0\3\xdb\0\0\0\x21model.layers.0.mlp.up_proj.weight"
            "\xd3\0\0\0\0\0\0\0\1\xce\0\0\0\0\xa1n\xcd\0\1\xa1t\xd9\4tile"
            "\xa2u7\x7f\xa2u8\xcc\xff\xa3u16\xcd\xff\xff\xa3u32\xce\xff\xff\xff\xff"
            "\xa3u64\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa2i5\xe0\xa2i8\xd0\x80\xa3i16\xd1\x80\0"
            "\xa3i32\xd2\x80\0\0\0\xa3i64\xd3\x80\0\0\0\0\0\0\0"
            "\xa3" "f32\xca\x3d\xcc\xcc\xcd\xa3" "f64\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a"
            "\xa3yes\xc3\xa2no\xc2\xa3" "bin\xc6\0\0\0\2\0\xff\xa3" "ext\xd4\5\1\xa4list\xdc\0\2\x90\x80"
            "\xa4text\xda\0\6\xe2\x82\xac\"\\\n\xa3nan\xca\x7f\xc0\0\0");
    m.records++;
    maker_frame(&m);
    m.level = -3;
    for (int i = 0; i < 2; i++) {
        maker_record(&m, "tile", down_proj, 0, i, 1);
        maker_weights(&m, 20, 16);
    }
    maker_frame(&m);
    maker_end(&m);
    maker_write(&m, folder, "other-writer");
}

/* A higher minor: unknown keys in every place. */
static void future_minor(const char *folder)
{
    struct maker m;
    maker_begin(&m);
    maker_version(&m, 1, 9, 2);
    maker_model(&m);
    maker_str(&m, "novel");
    RAW(&m, "\x82\xa1" "a\x01\xa1" "b\xc4\x01\x00");
    maker_tables(&m);
    maker_str(&m, "prov");
    RAW(&m, "\x92\x84\xa2id\xa3one\xa4prog\xa3one\xa4prev\x90\xa5novel\xc0"
            "\x83\xa2id\xa5one.1\xa4prog\xa3one\xa4prev\x91\xa3one");
    maker_str(&m, "x-head");
    RAW(&m, "\xc7\0\1");
    maker_frame(&m);
    maker_record(&m, "tile", up_proj, 0, 0, 2);
    maker_str(&m, "w");
    RAW(&m, "\x85\xa4" "data\xc4\x04\0\x01\x80\x3f\xa3" "enc\xa6planes\xa5novel\xa1?\xa5" "dtype\xa4" "bf16\xa5shape\x91\x02");
    maker_str(&m, "novel");
    RAW(&m, "\x93\x01\x92\x02\x91\xc3\xa0");
    maker_frame(&m);
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(m.decoded.data, m.decoded.size));
    msgpack_pack_map(&m.pk, 5);
    RAW(&m, "\xa1t\xa3" "end\xa5novel\x80\xa5" "count\x01\xa5" "bytes");
    msgpack_pack_uint64(&m.pk, m.decoded.size);
    RAW(&m, "\xa4hash\xc4\x10");
    maker_raw(&m, &hash, sizeof hash);
    maker_frame(&m);
    maker_write(&m, folder, "future-minor");
}

static void no_records(const char *folder)
{
    struct maker m;
    maker_begin(&m);
    maker_header(&m);
    maker_end(&m);
    maker_write(&m, folder, "no-records");
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make-golden FOLDER\n");
        return 2;
    }
    types(argv[1]);
    other_writer(argv[1]);
    future_minor(argv[1]);
    no_records(argv[1]);
    return 0;
}
