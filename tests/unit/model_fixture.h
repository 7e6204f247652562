/* What the tests of model folders share: a temporary folder, files in it, and small random models. */
#ifndef MODEL_FIXTURE_H
#define MODEL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mdq_error.h"

#define OK(call)                                                                                             \
    do {                                                                                                     \
        if ((call) != MDQ_OK)                                                                                \
            fail_msg("%s: %s", #call, mdq_error_message());                                                  \
    } while (0)
/* Fails with this code, and its message contains all of the texts (separated by '|'). */
#define FAILS(err, texts, call) check_failure((err), (texts), (call), #call)

__attribute__((unused)) static void check_failure(enum mdq_err want, const char *texts, enum mdq_err got,
                                                  const char *call)
{
    if (got != want)
        fail_msg("%s: code %d, want %d; message: %s", call, (int)got, (int)want, got ? mdq_error_message() : "none");
    char copy[512], *rest = copy;
    snprintf(copy, sizeof copy, "%s", texts);
    for (char *text; (text = strsep(&rest, "|"));)
        if (!strstr(mdq_error_message(), text))
            fail_msg("%s: message lacks '%s': %s", call, text, mdq_error_message());
}

static char folder[64];

__attribute__((unused)) static int folder_setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/mdq-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

__attribute__((unused)) static int folder_teardown(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

__attribute__((unused)) static const char *in_folder(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

__attribute__((unused)) static void put_file(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* A safetensors file: this header, padded to nothing, and `size` bytes 0, 1, 2 ... of data. */
__attribute__((unused)) static void put_safetensors(const char *name, const char *header, size_t size)
{
    size_t n = strlen(header);
    unsigned char *p = calloc(8 + n + size, 1);
    assert_non_null(p);
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(n >> 8 * i);
    memcpy(p + 8, header, n);
    for (size_t i = 0; i < size; i++)
        p[8 + n + i] = (unsigned char)i;
    put_file(name, p, 8 + n + size);
    free(p);
}

/* tests/unit/fixtures/weights/NAME, wherever the test runs from. */
__attribute__((unused)) static const char *fixture(const char *name)
{
    static char path[512];
    const char *file = __FILE__, *slash = strrchr(file, '/');
    snprintf(path, sizeof path, "%.*s/fixtures/weights/%s", (int)(slash - file), file, name);
    return path;
}

#endif
