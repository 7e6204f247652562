/*
 * Writes tests/bad: streams with one defect each, named by it. `make-bad FOLDER`. What mdq-check and a reader must say
 * stands in tests/bad/expect.
 */
#include "stream_maker.h"

static const char *folder;

/* One good record in a frame; the streams with a bad record put it behind this one. */
static void good_layer(struct maker *m)
{
    maker_record(m, "layer", up_proj, 0, 0, 1);
    maker_str(m, "dtype");
    maker_str(m, "f32");
}

static void good_tile(struct maker *m, int row)
{
    maker_record(m, "tile", up_proj, row, 0, 1);
    maker_weights(m, 20, 16);
}

/* A whole good stream of three record frames; *at: where each frame begins and the last one ends. */
static void good(struct maker *m, size_t at[6])
{
    maker_begin(m);
    at[0] = 0;
    maker_header(m);
    for (int i = 0; i < 3; i++) {
        at[i + 1] = m->file.size;
        i == 0 ? good_layer(m) : good_tile(m, i - 1);
        maker_frame(m);
    }
    at[4] = m->file.size;
    maker_end(m);
    at[5] = m->file.size;
}

static void cut(const char *name, int frame, int more)
{
    struct maker m;
    size_t at[6];
    good(&m, at);
    m.file.size = at[frame] + (size_t)more;
    maker_write(&m, folder, name);
}

static void flip(const char *name, int frame, int byte, int bits) /* byte < 0: from the frame's end */
{
    struct maker m;
    size_t at[6];
    good(&m, at);
    m.file.data[byte < 0 ? at[frame + 1] - (size_t)-byte : at[frame] + (size_t)byte] ^= (char)bits;
    maker_write(&m, folder, name);
}

static void append(const char *name, const void *p, size_t n)
{
    struct maker m;
    size_t at[6];
    good(&m, at);
    msgpack_sbuffer_write(&m.file, p, n);
    maker_write(&m, folder, name);
}

static void transport(void)
{
    struct maker m;
    size_t at[6];
    cut("truncated-to-nothing", 0, 0);
    cut("truncated-in-header", 0, 30);
    cut("truncated-after-header", 1, 0);
    cut("truncated-in-frame-header", 2, 3);
    cut("truncated-in-block", 2, 40);
    cut("truncated-between-records", 3, 0);
    cut("truncated-before-end-record", 4, 0);
    cut("truncated-in-end-record", 4, 20);
    cut("truncated-in-last-checksum", 5, -1);
    flip("flipped-bit-in-header", 0, 40, 4);
    flip("flipped-bit-in-block", 2, 200, 16);
    flip("flipped-bit-in-checksum", 2, -2, 1);
    flip("flipped-bit-in-size", 2, 5, 1);
    flip("flipped-bit-in-magic", 2, 1, 1);
    flip("frame-with-reserved-bit", 2, 4, 8);
    flip("frame-with-dictionary", 2, 4, 1);
    good(&m, at);
    append("trailing-second-stream", m.file.data, m.file.size);
    maker_write(&m, folder, "good");
    append("trailing-garbage", "garbage", 7);

    maker_begin(&m);
    msgpack_sbuffer_write(&m.file, "{\"t\":\"tile\"}\n", 13);
    maker_write(&m, folder, "text");

    for (int i = 0; i < 2; i++) {
        maker_begin(&m);
        maker_header(&m);
        good_layer(&m);
        m.no_checksum = i == 0;
        m.no_size = i == 1;
        maker_frame(&m);
        m.no_checksum = m.no_size = false;
        maker_end(&m);
        maker_write(&m, folder, i ? "frame-without-size" : "frame-without-checksum");
    }

    static const char skippable[] = "\x50\x2a\x4d\x18\4\0\0\0skip";
    maker_begin(&m);
    maker_header(&m);
    msgpack_sbuffer_write(&m.file, skippable, sizeof skippable - 1);
    good_layer(&m);
    maker_frame(&m);
    maker_end(&m);
    maker_write(&m, folder, "frame-skippable");

    /* Headers that claim 2^60 and 2^29 bytes, the second with one stored block of five bytes. */
    static const char huge[] = "\x28\xb5\x2f\xfd\xe4\0\0\0\0\0\0\0\x10\x29\0\0hello";
    static const char more[] = "\x28\xb5\x2f\xfd\xa4\0\0\0\x20\x29\0\0hello\0\0\0\0";
    maker_begin(&m);
    maker_header(&m);
    msgpack_sbuffer_write(&m.file, huge, sizeof huge - 1);
    maker_write(&m, folder, "frame-claims-huge-size");
    maker_begin(&m);
    maker_header(&m);
    msgpack_sbuffer_write(&m.file, more, sizeof more - 1);
    maker_write(&m, folder, "frame-claims-more-than-its-blocks");

    /* A frame of nothing but empty stored blocks. */
    maker_begin(&m);
    maker_header(&m);
    msgpack_sbuffer_write(&m.file, "\x28\xb5\x2f\xfd\x24\1", 6);
    for (int i = 0; i < 30000; i++)
        msgpack_sbuffer_write(&m.file, "\0\0\0", 3);
    maker_write(&m, folder, "frame-padded-with-empty-blocks");

    maker_begin(&m);
    maker_header(&m);
    maker_frame(&m);
    good_layer(&m);
    maker_frame(&m);
    maker_end(&m);
    maker_write(&m, folder, "frame-empty");

    maker_begin(&m);
    maker_header(&m);
    good_layer(&m);
    good_tile(&m, 0);
    m.frame.size -= 1000;
    maker_frame(&m);
    for (int i = 0; i < 1000; i++)
        RAW(&m, "\0");
    maker_frame(&m);
    maker_end(&m);
    maker_write(&m, folder, "record-over-two-frames");
}

static void headers(void)
{
    static const char *const names[] = {"header-other-magic", "header-newer-major", "header-unknown-require",
                                        "header-without-model", "header-model-in-capitals", "header-layer-twice",
                                        "header-impossible-tiling", "header-provenance-without-parent",
                                        "header-duplicate-key", "header-with-records-in-its-frame",
                                        "header-layers-claim-huge-count", "header-kinds-missing"};
    for (int i = 0; i < (int)(sizeof names / sizeof *names); i++) {
        struct maker m;
        maker_begin(&m);
        maker_version(&m, i == 1 ? 2 : 1, 0, i == 8 ? 1 : i == 11 ? -1 : 0);
        if (i == 0)
            memcpy(memmem(m.frame.data, m.frame.size, "mdq", 3), "mdp", 3);
        maker_str(&m, "require");
        msgpack_pack_array(&m.pk, i == 2);
        if (i == 2)
            maker_str(&m, "telepathy");
        maker_str(&m, i == 3 ? "x-model" : "model");
        maker_str(&m, i == 4 ? "00112233445566778899AABBCCDDEEFF" : "00112233445566778899aabbccddeeff");
        if (i == 8) {
            maker_str(&m, "model");
            maker_str(&m, "00112233445566778899aabbccddeeff");
        }
        maker_str(&m, "layers");
        if (i == 10)
            RAW(&m, "\xdd\xff\xff\xff\xff");
        else
            msgpack_pack_array(&m.pk, 2);
        maker_layer(&m, up_proj, 300, 64, 0);
        maker_layer(&m, i == 5 ? up_proj : down_proj, i == 6 ? -1 : 64, 300, 1);
        if (i != 11) {
            maker_str(&m, "kinds");
            msgpack_pack_array(&m.pk, 2);
            maker_str(&m, "layer");
            maker_str(&m, "tile");
        }
        maker_prov(&m);
        if (i == 7) /* prev: [] at the very end becomes [x] */
            m.frame.data[m.frame.size - 1] = (char)0x91, RAW(&m, "\xa1x");
        if (i == 9)
            good_layer(&m);
        maker_frame(&m);
        if (i != 9)
            good_layer(&m);
        if (i != 9)
            maker_frame(&m);
        maker_end(&m);
        maker_write(&m, folder, names[i]);
    }
}

/* A stream whose second record has, besides identity, one pair of raw bytes. */
static void pair(const char *name, const void *raw, size_t n)
{
    struct maker m;
    maker_begin(&m);
    maker_header(&m);
    good_layer(&m);
    maker_record(&m, "tile", up_proj, 0, 0, 1);
    maker_raw(&m, raw, n);
    maker_frame(&m);
    maker_end(&m);
    maker_write(&m, folder, name);
}
#define PAIR(name, raw) pair(name, raw, sizeof(raw) - 1)

/* A stream whose second record is raw bytes. */
static void record(const char *name, const void *raw, size_t n)
{
    struct maker m;
    maker_begin(&m);
    maker_header(&m);
    good_layer(&m);
    maker_raw(&m, raw, n);
    m.records++;
    maker_frame(&m);
    maker_end(&m);
    maker_write(&m, folder, name);
}
#define RECORD(name, raw) record(name, raw, sizeof(raw) - 1)

static void values(void)
{
    char deep[200000];
    memcpy(deep, "\xa1y", 2);
    memset(deep + 2, 0x91, sizeof deep - 2);
    deep[2 + 16] = (char)0xc0;
    pair("value-one-level-too-deep", deep, 2 + 16 + 1);
    deep[2 + 16] = (char)0x91;
    deep[sizeof deep - 1] = (char)0xc0;
    pair("value-nested-very-deep", deep, sizeof deep);
    PAIR("value-key-twice", "\xa2id\xc0");
    PAIR("value-nested-key-twice", "\xa1y\x82\xa1k\1\xa1k\2");
    PAIR("value-key-twice-in-two-encodings", "\xa1y\x82\xa1k\1\xd9\1k\2");
    PAIR("value-key-no-string", "\xa1y\x81\1\2");
    PAIR("value-key-with-nul", "\xa1y\x81\xa1\0\2");
    PAIR("value-string-no-utf8", "\xa1y\xa2\xc3\x28");
    PAIR("value-string-surrogate", "\xa1y\xa3\xed\xa0\x80");
    PAIR("value-byte-c1", "\xa1y\xc1");
    PAIR("value-claims-huge-list", "\xa1y\xdd\xff\xff\xff\xff");
    PAIR("value-claims-huge-map", "\xa1y\xdf\xff\xff\xff\xff");
    PAIR("value-claims-huge-bin", "\xa1y\xc6\xff\xff\xff\xff");
    PAIR("value-claims-huge-string", "\xa1y\xdb\xff\xff\xff\xff");
    PAIR("value-claims-huge-extension", "\xa1y\xc9\xff\xff\xff\xff\1");
    PAIR("value-lists-that-add-up", "\xa1y\xdc\0\x04\xdc\0\x04\xdc\xff\xff\xc0\xc0\xc0\xc0");

    RECORD("record-no-map", "\x93\1\2\3");
    RECORD("record-without-kind", "\x82\xa2id\x93\xa1x\0\0\xa1n\1");
    RECORD("record-without-identity", "\x82\xa1t\xa4tile\xa1n\1");
    RECORD("record-without-number", "\x82\xa1t\xa4tile\xa2id\x93\xa1x\0\0");
    RECORD("record-negative-row", "\x83\xa1t\xa4tile\xa2id\x93\xa1x\xff\0\xa1n\1");
    RECORD("record-identity-of-two", "\x83\xa1t\xa4tile\xa2id\x92\xa1x\0\xa1n\1");
    RECORD("record-kind-not-announced", "\x83\xa1t\xa5other\xa2id\x93\xa1x\0\0\xa1n\1");
    RECORD("record-number-skipped", "\x83\xa1t\xa4tile\xa2id\x93\xd9\x21model.layers.0.mlp.up_proj.weight\0\0\xa1n\2");
}

static void order(void)
{
    struct maker m;
    static const struct { const char *name; int rows[2]; const char *tensor[2]; } two[] = {
        {"records-out-of-order", {1, 0}, {up_proj, up_proj}},
        {"records-of-layers-out-of-order", {0, 0}, {down_proj, up_proj}},
        {"records-twice", {0, 0}, {up_proj, up_proj}},
        {"tile-outside-of-tiling", {0, 2}, {up_proj, up_proj}},
        {"tile-of-unknown-tensor", {0, 0}, {up_proj, "zebra"}},
    };
    for (int i = 0; i < 5; i++) {
        maker_begin(&m);
        maker_header(&m);
        for (int k = 0; k < 2; k++)
            maker_record(&m, "tile", two[i].tensor[k], two[i].rows[k], 0, 0);
        maker_frame(&m);
        maker_end(&m);
        maker_write(&m, folder, two[i].name);
    }
    static const char *const ends[] = {"end-wrong-count", "end-wrong-bytes", "end-wrong-hash", "end-without-hash",
                                       "end-in-a-records-frame"};
    for (int i = 0; i < 5; i++) {
        maker_begin(&m);
        maker_header(&m);
        good_layer(&m);
        if (i != 4)
            maker_frame(&m);
        if (i == 3)
            RAW(&m, "\x83\xa1t\xa3" "end\xa5" "count\1\xa5" "bytes\xcd\1\0");
        else
            maker_end_map(&m, i == 0, i == 1, i == 2);
        maker_frame(&m);
        maker_write(&m, folder, ends[i]);
    }
}

static void array(const char *name, const char *kind, const char *key, const char *dtype, const char *enc, int ndim,
                  const int64_t *shape, const void *data, size_t n)
{
    struct maker m;
    maker_begin(&m);
    maker_header(&m);
    maker_record(&m, kind, up_proj, 0, 0, 1);
    maker_str(&m, key);
    maker_array_head(&m, dtype, enc, ndim, shape, n);
    maker_raw(&m, data, n);
    maker_frame(&m);
    maker_end(&m);
    maker_write(&m, folder, name);
}

static void arrays(void)
{
    static const char zero[64];
    static const float nan[2] = {1, __builtin_nanf("")};
    static const uint16_t inf[2] = {0xff80, 0}; /* minus infinity in bf16 */
    static const char inf_planes[4] = "\x80\0\xff\0";
    array("array-unknown-dtype", "tile", "w", "f8", "raw", 1, (int64_t[]){4}, zero, 4);
    array("array-unknown-encoding", "tile", "w", "f32", "zip", 1, (int64_t[]){1}, zero, 4);
    array("array-too-short", "tile", "w", "f32", "raw", 2, (int64_t[]){2, 3}, zero, 23);
    array("array-too-long", "tile", "w", "u3", "raw", 2, (int64_t[]){3, 3}, zero, 5);
    array("array-shape-overflows", "tile", "w", "u2", "raw", 3, (int64_t[]){1ll << 31, 1ll << 31, 4}, zero, 0);
    array("array-negative-size", "tile", "w", "f32", "raw", 2, (int64_t[]){-1, -1}, zero, 4);
    array("array-five-dimensions", "tile", "w", "u8", "raw", 5, (int64_t[]){1, 1, 1, 1, 1}, zero, 1);
    array("array-bytes-in-planes", "tile", "w", "u8", "planes", 1, (int64_t[]){4}, zero, 4);
    array("nan-in-weights", "tile", "w", "f32", "raw", 1, (int64_t[]){2}, nan, 8);
    array("infinity-in-scales", "layer", "scales", "bf16", "raw", 1, (int64_t[]){2}, inf, 4);
    array("infinity-in-planes", "layer", "scales", "bf16", "planes", 1, (int64_t[]){2}, inf_planes, 4);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make-bad FOLDER\n");
        return 2;
    }
    folder = argv[1];
    transport();
    headers();
    values();
    order();
    arrays();
    return 0;
}
