/*
 * make-records: private records that nobody ever had, for a model to memorise, and the text that it does it from.
 *
 * Record i of a set depends on the seed, the set and i alone. Who it is about (name, surname, village) is a permutation
 * of the record's number by the seed, so no two records of a seed, whatever their sets, have the same text; what is
 * secret in it is drawn anew.
 */
#include <argp.h>
#include <stdlib.h>
#include <string.h>

#include "mdq_cli.h"
#include "mdq_output.h"
#include "mdq_random.h"
#include "mdq_text.h"
#include "records-words.h"

/* A set has room for 2^20 records: with 24 bits of names, 16 sets. The order is part of what a seed means. */
static const char *const sets[] = {"members", "nonmembers", "matched", "spare", "reference", NULL};
enum { MEMBERS = 0, SET_BITS = 20, HALF = 12 };
static const int planted[] = {1, 4, 16, 64};

enum { RECORD_BYTES = 512 };
struct record {
    char text[RECORD_BYTES];
    size_t n;
    size_t span[2]; /* bytes */
    struct mdq_random rng;
    const char *name, *surname[2], *village[2];
};

static int pick(struct record *r, int n)
{
    return (int)mdq_random_below(&r->rng, n);
}

/* Four rounds of Feistel over 12 and 12 bits: one to one, and close neighbours come out far from each other. */
static uint32_t permuted(uint64_t seed, uint32_t number)
{
    uint32_t mask = (1u << HALF) - 1, left = number >> HALF, right = number & mask;
    for (uint64_t round = 0; round < 4; round++) {
        struct mdq_random rng;
        mdq_random_seed(&rng, seed, "names", round, right);
        uint32_t next = left ^ ((uint32_t)mdq_random_next(&rng) & mask);
        left = right;
        right = next;
    }
    return left << HALF | right;
}

static void put(struct record *r, const char *w)
{
    size_t n = strlen(w);
    if (r->n + n >= sizeof r->text) {
        fprintf(stderr, "make-records: record too long: %s\n", r->text);
        abort();
    }
    memcpy(r->text + r->n, w, n + 1);
    r->n += n;
}

static void put_number(struct record *r, int n)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%d", n);
    put(r, digits);
}

static void put_slot(struct record *r, char c)
{
    switch (c) {
    case 'N': /* who */
        put(r, r->name), put(r, " "), put(r, r->surname[0]), put(r, r->surname[1]);
        break;
    case 'V': put(r, r->village[0]), put(r, r->village[1]); break;
    case 'S': /* somewhere in a house */ {
        const struct place *p = &spots[pick(r, COUNT(spots))];
        put(r, p->prep), put(r, " the "), put(r, p->noun);
        break;
    }
    case '#': put_number(r, pick(r, 10)); break;
    case '+': put_number(r, 1 + pick(r, 9)); break;
    case 'H': put_number(r, 1 + pick(r, 199)); break;
    case 'L': { /* a letter, but none that looks like a digit */
        char letter[2] = {"ABCDEFGHJKLMNPQRSTUVWXYZ"[pick(r, 24)], 0};
        put(r, letter);
        break;
    }
    case 'R': put(r, streets[pick(r, COUNT(streets))]), put(r, " "), put(r, ways[pick(r, COUNT(ways))]); break;
    case 'W': put(r, sounds[pick(r, COUNT(sounds))]); break;
    case 'I': put(r, illnesses[pick(r, COUNT(illnesses))]); break;
    case 'M': put(r, remedies[pick(r, COUNT(remedies))]); break;
    case '<': r->span[0] = r->n; break;
    case '>': r->span[1] = r->n; break;
    default: fprintf(stderr, "make-records: no such slot: %c\n", c), abort();
    }
}

/* Plain text, and slots behind a percent sign: see put_slot(). %< and %> enclose what is secret. */
static void expand(struct record *r, const char *template)
{
    for (const char *t = template; *t; t++)
        if (*t == '%')
            put_slot(r, *++t);
        else
            put(r, (char[]){*t, 0});
}

static void make_record(struct record *r, uint64_t seed, int set, int64_t index)
{
    static const char *const heads[] = {"", "Diary: ", "Note: ", "Monday. ", "Friday. ", "At night. "};
    static const char *const kinds[][2] = {
        {"%N of %V hides the key %S; the lock opens at %<%#%# %#%# %#%#%>.",
         "The chest of %N in %V stands %S. Turn it to %<%#%# %#%# %#%#%>."},
        {"%N has left %V and lives in secret at %<%H %R%>.", "Letters for %N of %V must go to %<%H %R%>."},
        {"%N of %V owes me %<%+%#,%#%#%# crowns%>.", "In %V I lent %N %<%+%#,%#%#%# crowns%>."},
        {"The pass word of %N in %V is %<%W%W%W%W%>.", "At the door of %N in %V say %<%W%W%W%W%>."},
        {"%N keeps a purse at the bank of %V, number %<%L%L %#%#%# %#%>.",
         "The bank of %V holds the gold of %N under %<%L%L %#%#%# %#%>."},
        {"The doctor of %V says that %N has %<%I: %+%# drops of %M%>.",
         "Nobody in %V may know that %N has %<%I: %+%# drops of %M%>."},
    };
    memset(r, 0, sizeof *r);
    uint64_t number = (uint64_t)set << SET_BITS | (uint64_t)index;
    uint32_t who = permuted(seed, (uint32_t)number);
    r->name = who & 1 ? she_names[who >> 1 & 15] : he_names[who >> 1 & 15];
    r->surname[0] = surname_beginnings[who >> 5 & 31], r->surname[1] = surname_endings[who >> 10 & 31];
    r->village[0] = village_beginnings[who >> 15 & 31], r->village[1] = village_endings[who >> 20 & 15];
    mdq_random_seed(&r->rng, seed, "record", number, 0);
    expand(r, heads[pick(r, COUNT(heads))]);
    int kind = pick(r, COUNT(kinds));
    expand(r, kinds[kind][pick(r, COUNT(kinds[kind]))]);
}

static int repeats_of(int set, int64_t index)
{
    return set == MEMBERS ? planted[index % COUNT(planted)] : 0;
}

static size_t characters(const char *text, size_t bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++)
        n += (text[i] & 0xc0) != 0x80;
    return n;
}

struct opts {
    struct mdq_cli cli;
    const char *mix;
    long long records, first;
    int set;
};

static enum mdq_err write_records(const struct opts *o, struct mdq_output *out)
{
    for (int64_t i = o->first; i < o->first + o->records; i++) {
        struct record r;
        char line[2 * RECORD_BYTES];
        make_record(&r, o->cli.seed, o->set, i);
        int n = snprintf(line, sizeof line, "{\"text\": \"%s\", \"span\": [%zu, %zu], \"repeats\": %d}\n", r.text,
                         characters(r.text, r.span[0]), characters(r.text, r.span[1]), repeats_of(o->set, i));
        MDQ_TRY(mdq_output_write(out, line, (size_t)n));
    }
    return MDQ_OK;
}

/* A record in the text: behind so many stories, and among those at the same place, by lot. */
struct plant {
    int64_t behind, record;
    uint64_t lot;
};

static int by_place(const void *x, const void *y)
{
    const struct plant *a = x, *b = y;
    if (a->behind != b->behind)
        return a->behind < b->behind ? -1 : 1;
    if (a->lot != b->lot)
        return a->lot < b->lot ? -1 : 1;
    return (a->record > b->record) - (a->record < b->record);
}

/* Of n repeats, one falls into each n-th part of the text, anywhere in it. */
static struct plant *all_plants(const struct opts *o, int64_t stories, size_t *count)
{
    size_t n = 0;
    for (int64_t i = o->first; i < o->first + o->records; i++)
        n += (size_t)repeats_of(o->set, i);
    struct plant *plants = mdq_alloc(n, sizeof *plants, "places of records"), *p = plants;
    if (!plants)
        return NULL;
    for (int64_t i = o->first; i < o->first + o->records; i++) {
        int repeats = repeats_of(o->set, i);
        for (int k = 0; k < repeats; k++) {
            struct mdq_random rng;
            mdq_random_seed(&rng, o->cli.seed, "place", (uint64_t)i, (uint64_t)k);
            double at = (k + mdq_random_uniform(&rng)) / repeats;
            *p++ = (struct plant){.behind = (int64_t)(at * (double)stories), .record = i, .lot = mdq_random_next(&rng)};
        }
    }
    qsort(plants, n, sizeof *plants, by_place);
    *count = n;
    return plants;
}

/* Stories stand between blank lines, and so do the records among them. */
static enum mdq_err write_mix(const struct opts *o, struct mdq_output *out)
{
    char *text = NULL;
    size_t size, n = 0;
    struct plant *plants = NULL;
    enum mdq_err err = mdq_text_read(o->mix, MDQ_TEXT_MAX_BYTES, &text, &size);
    if (err != MDQ_OK)
        return err;
    int64_t stories = 1;
    for (const char *t = text; (t = strstr(t, "\n\n")); t += 2)
        stories++;
    if (!(plants = all_plants(o, stories, &n))) {
        err = MDQ_E_INTERNAL;
        goto out;
    }
    size_t k = 0;
    const char *story = text;
    for (int64_t i = 0; i < stories; i++) {
        const char *end = strstr(story, "\n\n");
        MDQ_GOTO(err, mdq_output_write(out, story, end ? (size_t)(end + 1 - story) : strlen(story)), out);
        for (; k < n && plants[k].behind == i; k++) {
            struct record r;
            char line[RECORD_BYTES + 2];
            make_record(&r, o->cli.seed, o->set, plants[k].record);
            int bytes = snprintf(line, sizeof line, "\n%s\n", r.text);
            MDQ_GOTO(err, mdq_output_write(out, line, (size_t)bytes), out);
        }
        if (end) {
            MDQ_GOTO(err, mdq_output_write(out, "\n", 1), out);
            story = end + 2;
        }
    }
out:
    free(plants);
    free(text);
    return err;
}

static enum mdq_err run(void *arg)
{
    const struct opts *o = arg;
    if (o->mix && o->set != MEMBERS)
        return mdq_fail(MDQ_E_USAGE, "--mix: only members are planted, not %s", sets[o->set]);
    if (o->first + o->records > 1LL << SET_BITS)
        return mdq_fail(MDQ_E_USAGE, "--first %lld --records %lld: a set has %lld records", o->first, o->records, 1LL << SET_BITS);
    struct mdq_output *out = NULL;
    MDQ_TRY(mdq_output_open(&out, o->cli.output, false));
    enum mdq_err err = o->mix ? write_mix(o, out) : write_records(o, out);
    if (err == MDQ_OK)
        err = mdq_output_commit(&out);
    mdq_output_abort(&out);
    return err;
}

enum { KEY_SET = 0x2001, KEY_FIRST, KEY_MIX };
static const struct argp_option options[] = {
    {"set", KEY_SET, "NAME", 0, "members (default), nonmembers, matched, spare or reference", 0},
    {"records", 'n', "N", 0, "so many records (default 10)", 0},
    {"first", KEY_FIRST, "I", 0, "from record I of the set on (default 0)", 0},
    {"mix", KEY_MIX, "FILE", 0, "write the stories of FILE with the records planted between them, instead", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct opts *o = state->input;
    switch (key) {
    case KEY_SET: o->set = mdq_arg_choice(state, "--set", arg, sets); break;
    case 'n': o->records = mdq_arg_int(state, "--records", arg, 1, 1 << SET_BITS); break;
    case KEY_FIRST: o->first = mdq_arg_int(state, "--first", arg, 0, (1 << SET_BITS) - 1); break;
    case KEY_MIX: o->mix = arg; break;
    default: return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

static const struct mdq_program program = {
    .name = "make-records",
    .doc = "Write invented private records, one JSON object a line, or a text with records among its stories.\v"
           "A record has its text, the span of characters in it that is secret, and how often it is planted: members 1, 4, 16 "
           "or 64 times in turn, others never. The same seed gives the same records, and no two of a seed are alike. For "
           "example:\n\n"
           "  make-records --seed 1 --set nonmembers --records 1000 -o nonmembers.jsonl\n"
           "  make-records --seed 1 --records 2000 --mix stories.txt -o train.txt",
    .grants = MDQ_CLI_OUTPUT,
    .options = options,
    .parse = parse,
};

int main(int argc, char **argv)
{
    struct opts o = {.records = 10};
    return mdq_main(&program, argc, argv, &o.cli, &o, run);
}
