/*
 * A quantized layer put together from a stream: its layer record (scales, zeros) and all of its tiles (codes).
 */
#ifndef MDQ_QLAYER_H
#define MDQ_QLAYER_H

#include "mdq.h"

/* Zero-initialise once; every mdq_qlayer_next reuses the buffers. */
struct mdq_qlayer {
    char tensor[128];
    int block;
    int64_t rows, cols;  /* [out, in] */
    int bits;            /* 2, 3, 4 or 8 */
    int64_t group;       /* columns per group; cols when a row is one group */
    int64_t groups;      /* per row: cols / group */
    bool sym;
    char method[16], order[16]; /* "gptq" or "rtn"; "act" or "natural" */
    enum mdq_dtype scale_type;  /* as in the stream: f16, bf16, f32, f64 */
    double *scales;             /* [rows, groups], exact */
    uint8_t *zeros;             /* [rows, groups]; 2^(bits-1) when symmetric */
    uint8_t *codes;             /* [rows, cols], below 2^bits */
    char *report;               /* `qreport` as JSON, or NULL */
};

/*
 * Reads on to the next quantized layer and takes all of it; *found is false after the last (the end record was seen
 * then). Records of other kinds are passed over. MDQ_E_DATA, naming layer and tile, when a layer has no quantization,
 * a tile is missing, comes twice or has another shape than the header's tiling says, a group does not divide the row,
 * or a scale is not positive and finite.
 */
enum mdq_err mdq_qlayer_next(struct mdq_reader *r, struct mdq_qlayer *q, bool *found);

/* w [rows, cols] = scale (code - zero), computed in double, rounded once. */
void mdq_qlayer_dequantize(const struct mdq_qlayer *q, float *w);
/* One row of the same in double. */
void mdq_qlayer_row(const struct mdq_qlayer *q, int64_t row, double *w);

void mdq_qlayer_free(struct mdq_qlayer *q);

#endif
