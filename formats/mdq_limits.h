/*
 * The limits of formats/mdq1.md, section 7. All are checked before anything is allocated for what they bound.
 */
#ifndef MDQ_LIMITS_H
#define MDQ_LIMITS_H

enum {
    MDQ_LIMIT_DEPTH = 16,          /* nesting, the record itself being 1 */
    MDQ_LIMIT_MAP = 65536,         /* keys in one map */
    MDQ_LIMIT_KEY = 255,           /* bytes in a key */
    MDQ_LIMIT_NAME = 4096,         /* bytes in a tensor's name, a kind, a provenance id */
    MDQ_LIMIT_HEADER = 64 << 20,   /* decoded bytes of the header */
    MDQ_LIMIT_RECORD = 1 << 30,    /* decoded bytes of one record */
    MDQ_LIMIT_FRAME = 1 << 30,     /* decoded bytes of one frame */
    MDQ_LIMIT_END = 4096,          /* decoded bytes of the end record */
    MDQ_LIMIT_LAYERS = 1 << 20,    /* entries of the layer table */
    MDQ_LIMIT_PROVENANCE = 4096,   /* provenance entries */
    MDQ_FRAME_TARGET = 1 << 20,    /* decoded bytes at which a writer closes a frame */
    MDQ_PLANES_MIN = 1024,         /* elements from which arrays are written in planes */
    MDQ_FLUSH_MIN = 16 << 10,      /* bytes of a plane from which it gets zstd blocks of its own */
};

#endif
