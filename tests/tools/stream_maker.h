/*
 * Streams put together by hand, from msgpack bytes and zstd's plain interface, so that they can be wrong in any way and
 * owe nothing to the library's writer.
 */
#ifndef STREAM_MAKER_H
#define STREAM_MAKER_H

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#define MAKER __attribute__((unused)) static

/* What is being made: the file so far, the decoded bytes before the end record, the frame being filled. */
struct maker {
    msgpack_sbuffer file, decoded, frame;
    msgpack_packer pk; /* appends to frame */
    int level;
    bool no_checksum, no_size;
    size_t frame_at; /* where the last frame begins in the file */
    int records;
};

MAKER void maker_begin(struct maker *m)
{
    memset(m, 0, sizeof *m);
    msgpack_sbuffer_init(&m->file);
    msgpack_sbuffer_init(&m->decoded);
    msgpack_sbuffer_init(&m->frame);
    msgpack_packer_init(&m->pk, &m->frame, msgpack_sbuffer_write);
    m->level = 3;
}

MAKER void maker_raw(struct maker *m, const void *p, size_t n) /* bytes of the frame's content */
{
    msgpack_sbuffer_write(&m->frame, p, n);
}
#define RAW(m, s) maker_raw(m, s, sizeof(s) - 1)

/* The frame's content becomes a frame. */
MAKER void maker_frame(struct maker *m)
{
    size_t room = ZSTD_compressBound(m->frame.size);
    void *out = malloc(room);
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, m->level);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, !m->no_checksum);
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, !m->no_size);
    size_t n = ZSTD_compress2(c, out, room, m->frame.data ? m->frame.data : "", m->frame.size);
    if (ZSTD_isError(n))
        abort();
    m->frame_at = m->file.size;
    msgpack_sbuffer_write(&m->file, out, n);
    msgpack_sbuffer_write(&m->decoded, m->frame.data ? m->frame.data : "", m->frame.size);
    msgpack_sbuffer_clear(&m->frame);
    ZSTD_freeCCtx(c);
    free(out);
}

MAKER void maker_str(struct maker *m, const char *s)
{
    msgpack_pack_str(&m->pk, strlen(s));
    msgpack_pack_str_body(&m->pk, s, strlen(s));
}

static const char up_proj[] = "model.layers.0.mlp.up_proj.weight", down_proj[] = "model.layers.1.mlp.down_proj.weight";

MAKER void maker_layer(struct maker *m, const char *tensor, int rows, int cols, int block)
{
    msgpack_pack_array(&m->pk, 6);
    maker_str(m, tensor);
    msgpack_pack_int(&m->pk, rows);
    msgpack_pack_int(&m->pk, cols);
    msgpack_pack_int(&m->pk, (rows + 255) / 256);
    msgpack_pack_int(&m->pk, (cols + 255) / 256);
    msgpack_pack_int(&m->pk, block);
}

/* The pairs magic ... minor of a header map with `extra` more keys than the eight of the format. */
MAKER void maker_version(struct maker *m, int major, int minor, int extra)
{
    msgpack_pack_map(&m->pk, 8 + (size_t)extra);
    maker_str(m, "magic");
    maker_str(m, "mdq");
    maker_str(m, "major");
    msgpack_pack_int(&m->pk, major);
    maker_str(m, "minor");
    msgpack_pack_int(&m->pk, minor);
}

MAKER void maker_tables(struct maker *m)
{
    maker_str(m, "layers");
    msgpack_pack_array(&m->pk, 2);
    maker_layer(m, up_proj, 300, 64, 0);
    maker_layer(m, down_proj, 64, 300, 1);
    maker_str(m, "kinds");
    msgpack_pack_array(&m->pk, 2);
    maker_str(m, "layer");
    maker_str(m, "tile");
}

MAKER void maker_prov(struct maker *m)
{
    maker_str(m, "prov");
    msgpack_pack_array(&m->pk, 1);
    msgpack_pack_map(&m->pk, 5);
    maker_str(m, "id");
    maker_str(m, "by-hand");
    maker_str(m, "prog");
    maker_str(m, "by-hand");
    maker_str(m, "version");
    maker_str(m, "1");
    maker_str(m, "args");
    msgpack_pack_map(&m->pk, 0);
    maker_str(m, "prev");
    msgpack_pack_array(&m->pk, 0);
}

MAKER void maker_model(struct maker *m)
{
    maker_str(m, "require");
    msgpack_pack_array(&m->pk, 0);
    maker_str(m, "model");
    maker_str(m, "00112233445566778899aabbccddeeff");
}

MAKER void maker_header(struct maker *m)
{
    maker_version(m, 1, 0, 0);
    maker_model(m);
    maker_tables(m);
    maker_prov(m);
    maker_frame(m);
}

/* The three mandatory keys of a record map with `extra` more. */
MAKER void maker_record(struct maker *m, const char *kind, const char *tensor, int row, int col, int extra)
{
    msgpack_pack_map(&m->pk, 3 + (size_t)extra);
    maker_str(m, "t");
    maker_str(m, kind);
    maker_str(m, "id");
    msgpack_pack_array(&m->pk, 3);
    maker_str(m, tensor);
    msgpack_pack_int(&m->pk, row);
    msgpack_pack_int(&m->pk, col);
    maker_str(m, "n");
    msgpack_pack_int(&m->pk, m->records++);
}

MAKER void maker_array_head(struct maker *m, const char *dtype, const char *enc, int ndim, const int64_t *shape, size_t bytes)
{
    msgpack_pack_map(&m->pk, 4);
    maker_str(m, "dtype");
    maker_str(m, dtype);
    maker_str(m, "shape");
    msgpack_pack_array(&m->pk, (size_t)ndim);
    for (int i = 0; i < ndim; i++)
        msgpack_pack_int64(&m->pk, shape[i]);
    maker_str(m, "enc");
    maker_str(m, enc);
    maker_str(m, "data");
    msgpack_pack_bin(&m->pk, bytes);
}

/* `w` of a tile: rows x cols of float32, element i being i/8 - 3. */
MAKER void maker_weights(struct maker *m, int rows, int cols)
{
    maker_str(m, "w");
    maker_array_head(m, "f32", "raw", 2, (int64_t[]){rows, cols}, (size_t)(4 * rows * cols));
    for (int i = 0; i < rows * cols; i++) {
        float f = (float)i / 8 - 3;
        maker_raw(m, &f, 4);
    }
}

/* The end record's map; count and bytes plus what is given, the hash with its first byte changed by `flip`. */
MAKER void maker_end_map(struct maker *m, int count_more, int bytes_more, int flip)
{
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(m->decoded.data, m->decoded.size));
    hash.digest[0] ^= (uint8_t)flip;
    msgpack_pack_map(&m->pk, 4);
    maker_str(m, "t");
    maker_str(m, "end");
    maker_str(m, "count");
    msgpack_pack_int(&m->pk, m->records + count_more);
    maker_str(m, "bytes");
    msgpack_pack_uint64(&m->pk, m->decoded.size + (size_t)bytes_more);
    maker_str(m, "hash");
    msgpack_pack_bin(&m->pk, sizeof hash);
    msgpack_pack_bin_body(&m->pk, &hash, sizeof hash);
}

MAKER void maker_end(struct maker *m)
{
    maker_end_map(m, 0, 0, 0);
    maker_frame(m);
}

MAKER void maker_write(struct maker *m, const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.mdq", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(m->file.data ? m->file.data : "", 1, m->file.size, f) != m->file.size || fclose(f) != 0) {
        perror(path);
        exit(3);
    }
    msgpack_sbuffer_destroy(&m->file);
    msgpack_sbuffer_destroy(&m->decoded);
    msgpack_sbuffer_destroy(&m->frame);
}

#endif
