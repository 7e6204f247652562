/*
 * From templates to sentences. A template holds
 *
 *     [a|b|c]      one of these, at random; may nest
 *     {X} {X.f}    what is bound to the letter X: a person (capitals), a thing, a place, a number (digits); f: a form
 *     *verb +verb  the base form of a verb after a subject in the singular, in the plural, in the story's tense
 *     {x:verb}     the same, agreeing with the thing or number x; {x!verb}: in the present, for speech
 *     ^ $          here a phrase may stand, before a sentence and behind one (the words bound to ^ and $)
 *     @            the article "a" or "an", by the sound that follows
 *
 * Sentences get their capital letter by themselves.
 */
#ifndef STORIES_TEXT_H
#define STORIES_TEXT_H

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stories-words.h"

struct person {
    const char *name;
    bool she;
    const struct kind *kind;
    const struct trait *trait;
};
struct thing {
    const struct noun *noun;
    const char *colour, *size;
};

enum binding { UNBOUND, PERSON, THING, PLACE, NUMBER, WORD };
struct variable {
    enum binding type;
    union {
        const struct person *person;
        const struct thing *thing;
        const struct place *place;
        const char *word;
        int number;
    };
};

enum { STORY_BYTES = 1 << 14, PEOPLE = 6, THINGS = 6 };
enum { ARTICLE = 1, ARTICLE_CAPITAL = 2 }; /* stand for a or an until the next word is known */

struct story {
    uint64_t rng;
    bool present; /* tense */
    struct variable vars[128];
    struct person people[PEOPLE];
    struct thing things[THINGS];
    int n_people, n_things;
    unsigned used_places, used_spots;
    const struct season *season;
    struct thing garment;
    unsigned told;
    char text[STORY_BYTES];
    size_t n;
    bool capital, quoted, paragraph;
};

static void defect(const char *what, const char *template)
{
    fprintf(stderr, "make-stories: %s: %s\n", what, template);
    abort();
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Uniform in 0..n-1 (n is small: the bias of the product is below 2^-50). */
static int pick(struct story *s, int n)
{
    s->rng += 0x9e3779b97f4a7c15u;
    return (int)(((unsigned __int128)mix(s->rng) * (unsigned)n) >> 64);
}

static bool chance(struct story *s, int percent)
{
    return pick(s, 100) < percent;
}

static bool after_comma(const struct story *s)
{
    size_t n = s->n;
    while (n && s->text[n - 1] == ' ')
        n--;
    return n && s->text[n - 1] == ',';
}

static void put(struct story *s, char c)
{
    if (s->n + 1 >= sizeof s->text)
        defect("story too long", "");
    char last = s->n ? s->text[s->n - 1] : 0, before = s->n > 1 ? s->text[s->n - 2] : 0;
    if (c == ' ' && (strchr(".!?", last) || (last == '"' && before == '.')) && last)
        s->capital = true;
    if (c == '"') {
        s->quoted = !s->quoted;
        if (s->quoted && !after_comma(s)) /* a speech goes on after "said he," */
            s->capital = true;
    }
    if (c == '@') {
        c = s->capital ? ARTICLE_CAPITAL : ARTICLE;
        s->capital = false;
    } else if (s->capital && isalpha((unsigned char)c)) {
        c = (char)toupper(c);
        s->capital = false;
    }
    s->text[s->n++] = c;
}

static void puts_in(struct story *s, const char *w)
{
    while (*w)
        put(s, *w++);
}

static bool vowel(char c)
{
    return c && strchr("aeiou", tolower(c));
}

static void third_person(char *out, size_t size, const char *base)
{
    size_t n = strlen(base);
    char last = base[n - 1], before = n > 1 ? base[n - 2] : 0;
    if (last == 'y' && !vowel(before))
        snprintf(out, size, "%.*sies", (int)n - 1, base);
    else
        snprintf(out, size, "%s%s", base, strchr("sxzo", last) || (last == 'h' && strchr("sc", before)) ? "es" : "s");
}

static void past(char *out, size_t size, const char *base)
{
    size_t n = strlen(base);
    if (base[n - 1] == 'e')
        snprintf(out, size, "%sd", base);
    else if (base[n - 1] == 'y' && !vowel(base[n - 2]))
        snprintf(out, size, "%.*sied", (int)n - 1, base);
    else
        snprintf(out, size, "%sed", base);
}

static void put_verb(struct story *s, const char *base, bool plural, bool present)
{
    char form[48];
    const struct verb *v = NULL;
    for (int i = 0; i < COUNT(verbs) && !v; i++)
        if (strcmp(verbs[i].base, base) == 0)
            v = &verbs[i];
    if (!present) {
        if (v && v->past)
            puts_in(s, plural && v->past_plural ? v->past_plural : v->past);
        else {
            past(form, sizeof form, base);
            puts_in(s, form);
        }
    } else if (plural)
        puts_in(s, v && v->present_plural ? v->present_plural : base);
    else if (v && v->third)
        puts_in(s, v->third);
    else {
        third_person(form, sizeof form, base);
        puts_in(s, form);
    }
}

static void put_person(struct story *s, const struct person *p, const char *form)
{
    static const struct { const char *form, *she, *he; } pronouns[] = {
        {"he", "she", "he"}, {"him", "her", "him"}, {"his", "her", "his"}, {"himself", "herself", "himself"},
        {"child", "girl", "boy"}, {"son", "daughter", "son"}, {"brother", "sister", "brother"}};
    if (!*form) { /* mostly by name; sometimes by trade, which the reader has to remember */
        if (chance(s, 80))
            puts_in(s, p->name);
        else {
            puts_in(s, "the ");
            puts_in(s, p->kind->noun);
        }
        return;
    }
    for (int i = 0; i < COUNT(pronouns); i++)
        if (strcmp(form, pronouns[i].form) == 0) {
            puts_in(s, p->she ? pronouns[i].she : pronouns[i].he);
            return;
        }
    if (strcmp(form, "name") == 0)
        puts_in(s, p->name);
    else if (strcmp(form, "kind") == 0)
        puts_in(s, p->kind->noun);
    else if (strcmp(form, "trait") == 0)
        puts_in(s, p->trait->adjective);
    else if (strcmp(form, "virtue") == 0)
        puts_in(s, p->trait->noun);
    else
        defect("no such form of a person", form);
}

static void put_thing(struct story *s, const struct thing *t, const char *form)
{
    bool plural = t->noun->plural;
    if (strcmp(form, "it") == 0) {
        puts_in(s, plural ? "they" : "it");
        return;
    }
    if (strcmp(form, "them") == 0) {
        puts_in(s, plural ? "them" : "it");
        return;
    }
    if (strcmp(form, "that") == 0) {
        puts_in(s, plural ? "those" : "that");
        return;
    }
    if (strcmp(form, "colour") == 0) {
        puts_in(s, t->colour);
        return;
    }
    if (strcmp(form, "noun") == 0) {
        puts_in(s, t->noun->word);
        return;
    }
    bool full = strcmp(form, "a") == 0, definite = !*form || strcmp(form, "the") == 0;
    if (full && plural)
        puts_in(s, chance(s, 30) ? "a pair of " : "");
    else if (full)
        puts_in(s, "@ ");
    else if (definite)
        puts_in(s, "the ");
    else if (strcmp(form, "n") != 0)
        defect("no such form of a thing", form);
    if (full && chance(s, 60)) {
        puts_in(s, t->size);
        put(s, ' ');
    }
    if (full || chance(s, 40)) {
        puts_in(s, t->colour);
        put(s, ' ');
    }
    puts_in(s, t->noun->word);
}

static void put_place(struct story *s, const struct place *p, const char *form)
{
    if (strcmp(form, "n") == 0)
        puts_in(s, p->noun);
    else {
        puts_in(s, strcmp(form, "in") == 0 ? p->prep : strcmp(form, "to") == 0 ? "to" : "");
        puts_in(s, *form ? " the " : "the ");
        puts_in(s, p->noun);
    }
}

static void expand(struct story *s, const char *t, const char *end);

static const char *expand_choice(struct story *s, const char *t, const char *end)
{
    const char *starts[64];
    int n = 0, depth = 1;
    starts[n++] = t;
    for (; t < end; t++) {
        if (*t == '[')
            depth++;
        else if (*t == ']' && --depth == 0)
            break;
        else if (*t == '|' && depth == 1) {
            if (n + 1 >= COUNT(starts))
                defect("too many choices", starts[0]);
            starts[n++] = t + 1;
        }
    }
    if (t == end)
        defect("[ without ]", starts[0]);
    starts[n] = t + 1;
    int k = pick(s, n);
    expand(s, starts[k], starts[k + 1] - 1);
    return t + 1;
}

static const char *expand_slot(struct story *s, const char *t, const char *end)
{
    const char *close = memchr(t, '}', (size_t)(end - t));
    if (!close)
        defect("{ without }", t);
    char form[32] = "";
    if (close - t > 1)
        snprintf(form, sizeof form, "%.*s", (int)(close - t - 2), t + 2);
    const struct variable *v = &s->vars[(unsigned char)*t & 127];
    if (t[1] == ':' || t[1] == '!') {
        if (v->type != THING && v->type != NUMBER)
            defect("a verb that agrees with nothing", t);
        put_verb(s, form, v->type == THING ? v->thing->noun->plural : v->number != 1,
                 s->present || t[1] == '!');
        return close + 1;
    }
    switch (v->type) {
    case PERSON: put_person(s, v->person, form); break;
    case THING: put_thing(s, v->thing, form); break;
    case PLACE: put_place(s, v->place, form); break;
    case NUMBER: puts_in(s, numbers[v->number]); break;
    case WORD: expand(s, v->word, NULL); break;
    case UNBOUND: defect("nothing is bound to", t);
    }
    return close + 1;
}

/* NULL for the end: the whole string. */
static void expand(struct story *s, const char *t, const char *end)
{
    end = end ? end : t + strlen(t);
    while (t < end)
        if (*t == '[')
            t = expand_choice(s, t + 1, end);
        else if (*t == '{')
            t = expand_slot(s, t + 1, end);
        else if ((*t == '*' || *t == '+') && islower((unsigned char)t[1])) {
            char base[32];
            size_t n = 0;
            bool plural = *t++ == '+';
            while (t < end && islower((unsigned char)*t) && n + 1 < sizeof base)
                base[n++] = *t++;
            base[n] = 0;
            put_verb(s, base, plural, s->present);
        } else if (*t == '^' || *t == '$') {
            char c = *t++;
            if (!chance(s, 45))
                continue;
            expand(s, s->vars[(int)c].word, NULL);
            if (c == '^') {
                puts_in(s, ", ");
                s->capital = false;
            }
        } else
            put(s, *t++);
}

/* One or more whole sentences. */
static void tell(struct story *s, const char *template)
{
    if (s->n)
        put(s, s->paragraph ? '\n' : ' ');
    s->paragraph = false;
    s->capital = true;
    expand(s, template, NULL);
    if (s->quoted)
        defect("quotation not closed", template);
}

static void word(struct story *s, char letter, const char *w)
{
    s->vars[(int)letter] = (struct variable){.type = WORD, .word = w};
}

/* Spaces too many (left by empty choices) go, articles get their form. Returns the length. */
static size_t finish(struct story *s)
{
    size_t n = 0;
    static char out[STORY_BYTES];
    for (size_t i = 0; i < s->n; i++) {
        char c = s->text[i];
        if (c == ' ' && n && (out[n - 1] == ' ' || out[n - 1] == '\n'))
            continue;
        if (strchr(".,;!?\n", c) && n && out[n - 1] == ' ')
            n--;
        if (c == '.' && n > 1 && out[n - 1] == '"' && strchr(".!?", out[n - 2]))
            continue;
        if (c == ARTICLE || c == ARTICLE_CAPITAL) {
            size_t next = i + 1;
            while (next < s->n && s->text[next] == ' ')
                next++;
            bool an = next < s->n && (vowel(s->text[next]) || strncmp(s->text + next, "honest", 6) == 0) &&
                      strncmp(s->text + next, "one", 3) != 0;
            out[n++] = c == ARTICLE ? 'a' : 'A';
            if (an)
                out[n++] = 'n';
            continue;
        }
        out[n++] = c;
    }
    while (n && out[n - 1] == ' ')
        n--;
    memcpy(s->text, out, n);
    return s->n = n;
}
#endif
