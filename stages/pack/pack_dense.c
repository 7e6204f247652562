/* Plain safetensors: the rounded weights themselves, in f32, f16 or bf16. Holds whatever a stream can. */
#include "pack_format.h"
#include "pack_words.h"

static int tensors(const struct pack_plan *p, const struct pack_entry *e, struct pack_tensor out[PACK_TENSORS])
{
    out[0] = (struct pack_tensor){".weight", p->dense_type, 2, {e->rows, e->cols}, false};
    return 1;
}

static enum mdq_err fill(const struct pack_plan *p, const struct pack_entry *e, const struct mdq_qlayer *l, int which,
                         void *dst)
{
    (void)e, (void)which;
    if (pack_dequantize(l->codes, l->rows, l->cols, l->group, l->scales, l->zeros, p->dense_type, dst) != 0)
        return mdq_fail(MDQ_E_INTERNAL, "%s: cannot be written as %s", l->tensor, mdq_dtype_name(p->dense_type));
    return MDQ_OK;
}

static enum mdq_err config(const struct pack_plan *p, char **text)
{
    (void)p;
    *text = NULL;
    return MDQ_OK;
}

const struct pack_format pack_format_dense = {.name = "dense", .tensors = tensors, .fill = fill, .config = config};
