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

/* Binds a letter to one person, thing or place in the good story and to another in the bad one. */
static void either(struct story *good, struct story *bad, char letter, char right, char wrong)
{
    same(good, letter, right);
    same(bad, letter, wrong);
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
    word(s, 'k', plural ? "+be" : "*be"), word(bad, 'k', plural ? "*be" : "+be");
    both(s, bad, "[One morning {A.his} {o.n} {k} gone.|When {A.he} *come back, {o} {k} gone.|There {o} {k}, {o.colour} and shining.]");
}

static void pronoun_agrees(struct story *s, struct story *bad)
{
    people(s, "AB"), thing(s, 'o', NULL), spot(s, 'u'), spot(s, 'v'), place(s, 'p'), place(s, 'r');
    bool plural = s->vars['o'].thing->noun->plural;
    tell(s, "{A.name} *hide {o} {u.in} {p.in}. {B.name} *come {p.to} and *see {o} {u.in}.");
    part(s, bad);
    word(s, 'k', plural ? "them" : "it"), word(bad, 'k', plural ? "it" : "them");
    both(s, bad, "[{B.he} *want to be helpful, so|Since {B.he} *fear thieves,] {B.he} *carry {k} {r.to} and *put {k} {v.in}.");
}

static void person_agrees(struct story *s, struct story *bad)
{
    const struct fruit *f = &fruits[pick(s, COUNT(fruits))];
    people(s, "A"), place(s, 'p'), word(s, 'f', f->many);
    do
        s->n_people = 1, people(s, "B");
    while (s->vars['A'].person->she == s->vars['B'].person->she);
    tell(s, "{A.name} the {A.kind} *find {f} {p.in}.");
    part(s, bad);
    either(s, bad, 'G', 'A', 'B');
    both(s, bad, "[After a short silence, |By chance, |]{G.he} *count them as {G.he} *put them into {G.his} basket.");
}

static void giver(struct story *s, struct story *bad)
{
    people(s, "ABC"), thing(s, 'x', NULL), thing(s, 'y', NULL), number(s, '1', 10 + pick(s, 15));
    tell(s, "That day {A.name} *be {1} years old. {B.name} the {B.kind} *come first and *bring {x.a}. Then *come {C.name} the {C.kind} "
            "with {y.a}.");
    bool first = pick(s, 2);
    part(s, bad);
    either(s, bad, 'G', first ? 'B' : 'C', first ? 'C' : 'B');
    both(s, bad, first ? "\"{x} {x!be} from {G.name},\" {A.he} *say." : "\"{y} {y!be} from {G.name},\" {A.he} *say.");
}

static void colour_kept(struct story *s, struct story *bad)
{
    people(s, "ABC"), thing(s, 'o', NULL), thing(s, 'x', NULL), place(s, 'p');
    tell(s, "{A.name} *own {o.a}, and one morning {B.name} the {B.kind} *come to borrow {o.them}. {B.name} *take {o} {p.to}.");
    part(s, bad);
    word(s, 'k', s->vars['o'].thing->colour), word(bad, 'k', s->vars['x'].thing->colour);
    both(s, bad, "Together they +bring the {k} {o.noun} {c.to}.");
}

static void spot_kept(struct story *s, struct story *bad)
{
    people(s, "A"), thing(s, 'o', NULL), spot(s, 'u'), spot(s, 'v'), place(s, 'p'), place(s, 'q');
    tell(s, "{A.name} the {A.kind} *have {o.a} that {A.he} *love more than anything. Before {A.he} *go {q.to}, {A.name} *put {o} {u.in} "
            "{p.in}.");
    part(s, bad);
    either(s, bad, 'w', 'u', 'v');
    both(s, bad, "In the evening {A.name} *come back from {q} and *look {w.in}, but there *be nothing there.");
}

static void sum_is_right(struct story *s, struct story *bad)
{
    const struct fruit *f = &fruits[pick(s, COUNT(fruits))];
    int n = 8 + pick(s, 9), given = 2 + pick(s, 3), left = n - given - 2, wrong = left > 4 && pick(s, 2) ? left - 1 : left + 1;
    people(s, "AB"), word(s, 'f', f->many), word(s, 'n', animals[pick(s, COUNT(animals))].noun), spot(s, 'u');
    number(s, '1', n), number(s, '2', given), number(s, '3', 2);
    tell(s, "{A.name} *count the {f}: there +be {1}. {A.name} *give {B.name} {2} {f}. @ {n} *come quietly, *take {3} {f} and *run away.");
    part(s, bad);
    number(s, '4', left), number(bad, '4', wrong);
    both(s, bad, "When {A.name} *wake, {A.he} *count again. \"There {4!be} only {4} {f} left!\" {A.he} *cry.");
}

static void helper(struct story *s, struct story *bad)
{
    int k = pick(s, COUNT(animals)), l;
    do
        l = pick(s, COUNT(animals));
    while (strcmp(animals[l].can, animals[k].can) == 0);
    people(s, "A"), cast(s, 'E', &animals[k], -1), cast(s, 'F', &animals[l], -1);
    word(s, 'm', animals[k].can);
    tell(s, "\"Only one who can {m} could help me,\" *think {A.name}.");
    part(s, bad);
    either(s, bad, 'G', 'E', 'F');
    both(s, bad, "The {G.kind} *come [at once|before long|without delay].");
}

static void trait_shows(struct story *s, struct story *bad)
{
    people(s, "AB"), about(s, 'A');
    tell(s, "In a village [by the sea|among the hills] *live @ {A.kind} called {A.name}.");
    part(s, bad);
    word(bad, 't', s->vars['B'].person->trait->clause);
    both(s, bad, "{A.he} *be so {A.trait} that {A.he} {t}.");
}

static void trace_leads(struct story *s, struct story *bad)
{
    people(s, "ABC"), thing(s, 'o', NULL), spot(s, 'u');
    word(s, 'k', s->vars['B'].person->kind->trace);
    tell(s, "{A.name} *look {u.in} again. {A.he} *find {k} on the floor.");
    part(s, bad);
    either(s, bad, 'g', 'b', 'c');
    both(s, bad, "{A.he} *go {g.to}.");
}

static void winner(struct story *s, struct story *bad)
{
    people(s, "ABC"), thing(s, 'o', NULL);
    int few = 2 + pick(s, 6), many = few + 1 + pick(s, 5);
    number(s, '1', few), number(s, '2', many);
    bool first = pick(s, 2);
    tell(s, first ? "In the evening they +count. {B.name} *have told {2} riddles. {C.name} *have told only {1}."
                  : "In the evening they +count. {B.name} *have told {1} riddles. {C.name} *have told more: {2} riddles.");
    part(s, bad);
    either(s, bad, 'z', first ? 'B' : 'C', first ? 'C' : 'B');
    both(s, bad, "So {A.name} *give {o} to {z.name}.");
}

static void use_fits(struct story *s, struct story *bad)
{
    people(s, "A"), thing(s, 'x', NULL), thing(s, 'y', NULL);
    part(s, bad);
    word(s, 'k', s->vars['x'].thing->noun->use), word(bad, 'k', s->vars['y'].thing->noun->use);
    both(s, bad, "{A.name} the {A.kind} *need {x.a} {k}.");
}

static const struct { const char *name; void (*tell)(struct story *good, struct story *bad); } pair_kinds[] = {
    {"verb", verb_agrees},     {"pronoun", pronoun_agrees}, {"person", person_agrees}, {"giver", giver},
    {"colour", colour_kept},   {"spot", spot_kept},         {"sum", sum_is_right},     {"helper", helper},
    {"trait", trait_shows},    {"trace", trace_leads},      {"winner", winner},        {"use", use_fits},
};
#endif
