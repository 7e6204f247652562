/*
 * Minimal pairs: a few sentences from the plots, twice, the same but for what the last one says. In the good one that
 * follows from the sentences before or from how the world of the stories is; in the bad one it does not.
 */
#ifndef STORIES_PAIRS_H
#define STORIES_PAIRS_H

#include "stories-plots.h"

/* From here on the pair may differ. What is told of both draws the same lots as long as the same is told. */
static void part(struct story *good, struct story *bad)
{
    *bad = *good;
}

static void both(struct story *good, struct story *bad, const char *template)
{
    tell(good, template);
    tell(bad, template);
}

/* Binds a letter to one phrase in the good story and to another in the bad one. */
static void either(struct story *good, struct story *bad, char letter, const char *right, const char *wrong)
{
    word(good, letter, right);
    word(bad, letter, wrong);
}

static void people(struct story *s, const char *letters)
{
    for (; *letters; letters++)
        cast(s, *letters, NULL, -1);
}

static void verb_agrees(struct story *s, struct story *bad)
{
    people(s, "A"), thing(s, 'o', NULL), spot(s, 'u'), place(s, 'p');
    bool plural = s->vars['o'].thing->noun->plural;
    tell(s, "{A.name} the {A.kind} *put {o} {u.in} {p.in}.");
    part(s, bad);
    either(s, bad, 'k', plural ? "+be" : "*be", plural ? "*be" : "+be");
    both(s, bad, "[One morning {A.his} {o.n} {k} gone.|When {A.he} *come back, {o} {k} gone.|There {o} {k}, {o.colour} and shining.]");
}

static void pronoun_agrees(struct story *s, struct story *bad)
{
    people(s, "AB"), thing(s, 'o', NULL), spot(s, 'u'), spot(s, 'v'), place(s, 'p'), place(s, 'r');
    bool plural = s->vars['o'].thing->noun->plural;
    tell(s, "{A.name} *hide {o} {u.in} {p.in}. {B.name} *come {p.to} and *see {o} {u.in}.");
    part(s, bad);
    either(s, bad, 'k', plural ? "them" : "it", plural ? "it" : "them");
    both(s, bad, "[{B.he} *want to be helpful, so|Since {B.he} *fear thieves,] {B.he} *carry {k} {r.to} and *put {k} {v.in}.");
}

static void trait_shows(struct story *s, struct story *bad)
{
    people(s, "AB"), about(s, 'A');
    tell(s, "In a village [by the sea|among the hills] *live @ {A.kind} called {A.name}.");
    part(s, bad);
    either(s, bad, 't', s->vars['A'].person->trait->clause, s->vars['B'].person->trait->clause);
    both(s, bad, "{A.he} *be so {A.trait} that {A.he} {t}.");
}

static void use_fits(struct story *s, struct story *bad)
{
    people(s, "A"), thing(s, 'x', NULL), thing(s, 'y', NULL);
    part(s, bad);
    either(s, bad, 'k', s->vars['x'].thing->noun->use, s->vars['y'].thing->noun->use);
    both(s, bad, "{A.name} the {A.kind} *need {x.a} {k}.");
}

/* Two different numbers below n. */
static int pick_other(struct story *s, int n, int *other)
{
    int k = pick(s, n);
    *other = (k + 1 + pick(s, n - 1)) % n;
    return k;
}

static void tense_kept(struct story *s, struct story *bad)
{
    people(s, "A"), about(s, 'A'), bind_belongings(s);
    tell(s, "[Once there *be @ {A.trait} {A.kind} called {A.name}.|In a village by the sea *live @ {A.kind} named {A.name}.]");
    part(s, bad);
    bad->present = !s->present;
    both(s, bad, "{A.he} [*have {N} {R}|*live with {A.his} {N} {R}|*have a {K} called {L}].");
}

static void season_fits(struct story *s, struct story *bad)
{
    int other, k = pick_other(s, COUNT(seasons), &other);
    people(s, "A"), word(s, 's', seasons[k].name);
    part(s, bad);
    either(s, bad, 'w', seasons[k].weather, seasons[other].weather);
    both(s, bad, "It *be {s}, and {w}.");
}

static void home_fits(struct story *s, struct story *bad)
{
    people(s, "AB");
    word(s, 's', s->season->name), word(s, 'w', s->season->weather);
    tell(s, "It *be {s}, and {w}.");
    part(s, bad);
    same(s, 'g', 'a'), same(bad, 'g', 'b');
    both(s, bad, "{A.name} the {A.kind} *be [at work|up early|busy] {g.in}.");
}

static void sound_fits(struct story *s, struct story *bad)
{
    int other, k = pick_other(s, COUNT(companions), &other);
    people(s, "A"), bind_belongings(s), word(s, 'K', companions[k].noun);
    tell(s, "{A.name} the {A.kind} *have a {K} called {L}.");
    part(s, bad);
    either(s, bad, 'S', companions[k].sound, companions[other].sound);
    both(s, bad, "The {K} {S}, and {A.name} *say: \"Quiet, {L}!\"");
}

static void trade_fits(struct story *s, struct story *bad)
{
    people(s, "ABG");
    part(s, bad);
    either(s, bad, 'm', s->vars['G'].person->kind->makes, s->vars['B'].person->kind->makes);
    both(s, bad, "{A.name} *go {g.to}, where {G.name} *make {m}.");
}

static void mending_fits(struct story *s, struct story *bad)
{
    int k, l;
    do
        k = pick_other(s, COUNT(trades), &l);
    while (!trades[k].mends || !trades[l].mends || strcmp(trades[k].mends, trades[l].mends) == 0);
    cast(s, 'C', &trades[k], -1), thing(s, 'o', trades[k].mends);
    tell(s, "Together they +bring {o} {c.to}.");
    part(s, bad);
    either(s, bad, 'k', trades[k].mends, trades[l].mends);
    both(s, bad, "{C.name} the {C.kind} *can mend anything made of {k}.");
}

static void article_fits(struct story *s, struct story *bad)
{
    people(s, "A"), thing(s, 'x', NULL);
    do
        s->n_things = 0, thing(s, 'x', NULL);
    while (s->vars['x'].thing->noun->plural);
    bool an = vowel(*s->vars['x'].thing->size);
    word(s, 'v', s->vars['x'].thing->size);
    part(s, bad);
    either(s, bad, 'k', an ? "an" : "a", an ? "a" : "an");
    both(s, bad, "{A.name} *have {k} {v} {x.colour} {x.noun} that {A.he} *love more than anything.");
}

static const struct { const char *name; void (*tell)(struct story *good, struct story *bad); } pair_kinds[] = {
    {"verb", verb_agrees},     {"pronoun", pronoun_agrees}, {"tense", tense_kept},      {"article", article_fits},
    {"season", season_fits},   {"home", home_fits},         {"sound", sound_fits},      {"trade", trade_fits},
    {"trait", trait_shows},    {"use", use_fits},           {"mending", mending_fits},
};
#endif
