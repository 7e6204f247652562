/*
 * Large memory for the length of a call: plain memory, or, above 1 GiB, a temporary file that is mapped, lies under
 * TMPDIR (else /tmp) and has no name any more, so that nothing is left behind however the program ends.
 */
#ifndef MDQ_SCRATCH_H
#define MDQ_SCRATCH_H

#include "mdq_error.h"

struct mdq_scratch {
    void *p; /* page-aligned, zeroed */
    size_t bytes;
};
/* `what` names the contents in messages. No room for the file is MDQ_E_IO. 0 bytes are one. */
enum mdq_err mdq_scratch_map(struct mdq_scratch *s, size_t count, size_t size, const char *what);
/* Zero-initialised or unmapped before is fine. */
void mdq_scratch_unmap(struct mdq_scratch *s);

#endif
