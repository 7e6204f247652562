/* The plots of make-stories: each casts its people and things, then tells what happens, so that facts agree. */
#ifndef STORIES_PLOTS_H
#define STORIES_PLOTS_H

#include "stories-scenes.h"

static struct person *cast(struct story *s, char letter, const struct kind *kind, int nature)
{
    struct person *p = &s->people[s->n_people++];
    bool again = true;
    while (again) {
        p->she = pick(s, 2);
        p->name = p->she ? she_names[pick(s, COUNT(she_names))] : he_names[pick(s, COUNT(he_names))];
        p->kind = kind ? kind : &trades[pick(s, COUNT(trades))];
        do
            p->trait = &traits[pick(s, COUNT(traits))];
        while (nature >= 0 && (int)p->trait->nature != nature);
        again = false;
        for (struct person *q = s->people; q < p; q++)
            again |= q->name == p->name || q->trait == p->trait || (!kind && q->kind == p->kind);
    }
    s->vars[(int)letter] = (struct variable){.type = PERSON, .person = p};
    s->vars[tolower(letter)] = (struct variable){.type = PLACE, .place = &p->kind->home};
    return p;
}

static const struct thing *thing(struct story *s, char letter, const char *stuff)
{
    struct thing *t = &s->things[s->n_things++];
    bool again = true;
    while (again) {
        t->noun = &things[pick(s, COUNT(things))];
        t->colour = colours[pick(s, COUNT(colours))];
        t->size = sizes[pick(s, COUNT(sizes))];
        again = stuff && strcmp(stuff, t->noun->stuff) != 0;
        for (struct thing *q = s->things; q < t; q++)
            again |= q->noun == t->noun || q->colour == t->colour;
    }
    s->vars[(int)letter] = (struct variable){.type = THING, .thing = t};
    return t;
}

static int unused(struct story *s, unsigned *used, int n)
{
    int k;
    do
        k = pick(s, n);
    while (*used >> k & 1);
    *used |= 1u << k;
    return k;
}

static void place(struct story *s, char letter)
{
    s->vars[(int)letter] =
        (struct variable){.type = PLACE, .place = &places[unused(s, &s->used_places, COUNT(places))]};
}

static void spot(struct story *s, char letter)
{
    s->vars[(int)letter] =
        (struct variable){.type = PLACE, .place = &spots[unused(s, &s->used_spots, COUNT(spots))]};
}

static void number(struct story *s, char digit, int n)
{
    s->vars[(int)digit] = (struct variable){.type = NUMBER, .number = n};
}

/* A second letter for what is bound to a first. */
static void same(struct story *s, char letter, char as)
{
    s->vars[(int)letter] = s->vars[(int)as];
}

/* The person spoken of, for the phrases of the lexicon. */
static void about(struct story *s, char letter)
{
    s->vars['Z'] = s->vars[(int)letter];
    word(s, 't', s->vars['Z'].person->trait->clause);
    s->vars['z'] = s->vars[tolower(letter)];
}

static void hero(struct story *s)
{
    about(s, 'A');
    word(s, 's', s->season->name);
    word(s, 'w', s->season->weather);
    switch (pick(s, 7)) {
    case 0: tell(s, "Once there *be @ {A.trait} {A.kind} [called|named] {A.name}, who {t}."); break;
    case 1: tell(s, "It *be {s}, and {w}. {A.name} the {A.kind} *be [at work|up early|busy] {a.in}."); break;
    case 2: tell(s, "{A.name} *be @ {A.kind}, and [everyone *know|the whole village *know|people +say] that {A.he} "
            "{t}$."); break;
    case 3: tell(s, "In {s}, when {w}, the {A.trait} {A.kind} {A.name} *spend whole days {a.in}."); break;
    case 4: tell(s, "In a village [by the sea|among the hills|near the border] *live @ {A.kind} [called|named] "
            "{A.name}. {A.he} *be so {A.trait} that {A.he} {t}$."); break;
    case 5: tell(s, "{A.name}, @ {A.kind} who {t}, *get up before the sun that day, [because|although] {w}."); break;
    case 6: tell(s, "[Listen|Here is a story|They still tell it]: one day in {s} {A.name} the {A.kind} *sit {a.in}. "
            "{A.he} *be {A.trait}, and {A.he} {t}$."); break;
    }
    belongings(s);
}

static void other(struct story *s, char letter)
{
    about(s, letter);
    switch (pick(s, 4)) {
    case 0: tell(s, "{Z.name}, the {Z.kind}, *be [known to be {Z.trait}|said to be {Z.trait}|as {Z.trait} as one can "
            "be]."); break;
    case 1: tell(s, "The {Z.kind}, whose name *be {Z.name}, {t}."); break;
    case 2: tell(s, "Now {Z.name} *be @ {Z.trait} {Z.kind} who {t}."); break;
    case 3: tell(s, "[{z.in}|Not far away] *live {Z.name}, @ {Z.trait} {Z.kind}."); break;
    }
}

static void moral(struct story *s, char letter)
{
    about(s, letter);
    if (chance(s, 55)) {
        s->paragraph = true;
        tell(s, "[{Z.name}'s {Z.virtue} *become a story that [old people|mothers|sailors] +tell|Ever since, nobody "
                "*laugh at {Z.name}'s {Z.virtue}|That evening {Z} *go home [tired but happy|singing|under a sky full "
                "of stars]|And {Z.name} *remain as {Z.trait} as before|Whoever *ask {Z} about it *get [only a "
                "smile|the whole story|a cup of tea] for an answer].");
    }
}

static void lost(struct story *s)
{
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, -1), cast(s, 'C', NULL, -1), thing(s, 'o', NULL);
    place(s, 'p'), place(s, 'q'), place(s, 'r'), spot(s, 'u'), spot(s, 'v'), spot(s, 'e');
    hero(s);
    tell(s, "{A} *have {o.a} that [{A.his} grandmother *have left {A.him}|{A.he} *love more than anything|*have "
            "cost {A.him} a year of work]$.");
    tell(s, "[Before {A.he} *go {q.to}, {A} *put {o} {u.in} {p.in}|{A} *hide {o} {u.in} {p.in}, where nobody *will "
            "look, and *go {q.to}|Because {A.he} *must go {q.to}, {A} *leave {o} {p.in}, {u.in}].");
    interlude(s);
    other(s, 'B');
    tell(s, "While {A} *be {q.in}, {B} *come {p.to} and *see {o} {u.in}. [{B.he} *think that rain *will come in, "
            "so|\"{o.it} will get wet here,\" {B.he} *say, and|Since {B.he} *fear thieves,|{B.he} *want to be "
            "helpful, so] {B.he} *carry {o.them} {r.to} and *put {o.them} {v.in}. [|Only {C.name} the {C.kind} *see "
            "it.|Then {B.he} *go home.]");
    interlude(s);
    tell(s, "[In the evening|When the sun *set|An hour later] {A} *come back from {q} and *look {u.in}, but there "
            "*be [nothing there|only dust]. ^{A.he} *look {e.in} too, [in vain|without luck], and [*begin to "
            "cry|*sit down on the ground|*do not know what to do|*shake with anger]$.");
    tell(s, "\"Who has seen my {o.n}?\" {A.he} [*ask|*want to know|*shout].");
    if (chance(s, 50))
        tell(s, "\"I saw {B.name} go {r.to} with {o.them},\" {C.name} the {C.kind} *answer. \"Ask {B.him}.\"");
    else
        tell(s, "\"Not I,\" *say {C.name} the {C.kind}, \"but {B.name} was {p.in} while you were {q.in}.\"");
    if (s->vars['B'].person->trait->nature == GOOD || chance(s, 30))
        tell(s, "^{A} *run to {B.name}$. \"I took {o.them} {r.to},\" *say {B.name} [at once|with a smile|calmly]. "
                "\"{o.it} {o!be} {v.in}.\"");
    else
        tell(s, "^{A} *run to {B.name}$. [At first {B.he} *say nothing, but in the end|After a long silence|Only "
                "when {A} *beg {B.him},] {B.he} *say: \"Look {v.in}, {r.in}.\"");
    tell(s, "So {A} *go {r.to}, [and indeed,|and there,] {v.in}, {o:lie} the {o.colour} {o.noun}! {A} *be [so happy "
            "that {A.he} *hug {B.name}|no longer sad|glad, and *thank {C} as well]. From then on {A.he} never *leave "
            "{o} {p.in} again.");
    moral(s, 'B');
}

static void trade(struct story *s)
{
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, -1), cast(s, 'C', NULL, -1);
    thing(s, 'x', NULL), thing(s, 'y', NULL), thing(s, 'o', NULL);
    hero(s);
    about(s, 'A');
    word(s, 'k', s->vars['x'].thing->noun->use);
    tell(s, "^{A} *need {x.a} {k}, but all that {A.he} *have *be {o.a}$.");
    other(s, 'B');
    tell(s, "{B} *have {x.a}$. [So {A} *go {b.to}|One day {A.he} *visit {B.him} {b.in}]. \"Will you give me your "
            "{x.n}?\" {A.he} *ask.");
    about(s, 'B');
    word(s, 'k', s->vars['y'].thing->noun->use);
    tell(s, "\"[Only|Gladly, but only] if you bring me {y.a},\" *reply {B}, who *need {y.them} {k}.");
    if (chance(s, 50))
        tell(s, "\"Would you not take my {o.n}?\" \"No,\" *say {B}, \"what should I do with {o.a}?\"");
    interlude(s);
    tell(s, "[{A} *think for a while.|{A} *do not give up.|] {A.he} *remember {C.name} the {C.kind}, who *have "
            "{y.a}, and *go {c.to}.");
    about(s, 'C');
    word(s, 'k', s->vars['o'].thing->noun->use);
    tell(s, "[\"My {y.n}? {y.it} {y!be} yours,\" *say {C}, \"if I get {o.a} {k}.\"|{C} *look at the {o.colour} "
            "{o.noun} "
            "in {A.his} hands. \"Give me {o.that}, and you may have my {y.n}. I need {o.them} {k}.\"]");
    if (chance(s, 35))
        tell(s, "^{A} *laugh, for {o.that} {A.he} *can give$.");
    tell(s, "So {A} *give {C.him} {o} and *get {y}. Then {A.he} *walk back {b.to}, *hand {y} to {B} and *receive "
            "{x}.");
    interlude(s);
    tell(s, "[In the end|So it came that|When night *fall,] everyone *have what they +need: {C.name} *have {o}, "
            "{B.name} *have {y}, and {A.name} *have {x} [at last|]. ");
    moral(s, 'A');
}

static void count(struct story *s)
{
    const struct fruit *f = &fruits[pick(s, COUNT(fruits))];
    const struct kind *thief = &animals[pick(s, COUNT(animals))];
    int n = 6 + pick(s, 15), given = 1 + pick(s, n / 2), stolen = 1 + pick(s, (n - given) / 2), left = n - given - stolen;
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, -1), place(s, 'p'), spot(s, 'u');
    number(s, '1', n), number(s, '2', given), number(s, '3', stolen), number(s, '4', left);
    word(s, 'f', f->many), word(s, 'g', given == 1 ? f->one : f->many), word(s, 'i', stolen == 1 ? f->one : f->many);
    word(s, 'l', left == 1 ? f->one : f->many), word(s, 'j', f->from), word(s, 'n', thief->noun);
    hero(s);
    tell(s, "^{A} *find [@ {j} full of {f}|{f} {p.in}|{f} that nobody *want]$. ^{A.he} *count them as {A.he} *put "
            "them into {A.his} basket: [one, two, three, and so on; |]there +be {1}.");
    tell(s, "On the way home {A.he} *meet {B.name} the {B.kind}, who [*have eaten nothing all day|*look tired|*carry "
            "a heavy load]. ^{A} *give {B.him} {2} {g}, [and {B.he} *thank {A.him}|because {A.he} *feel sorry for "
            "{B.him}]$.");
    interlude(s);
    tell(s, "[Then|A little later|{a.in}] {A.he} *set the basket down {u.in} and *fall asleep. @ {n} *come "
            "[quietly|out of nowhere], *take {3} {i} and *run away.");
    tell(s, "When {A} *wake, {A.he} *count again. \"There {4!be} only {4} {l} left!\" {A.he} *cry.");
    if (chance(s, 60)) {
        tell(s, "\"You had {1} {f},\" *say {B.name}, who *be [passing by|still near]. \"You gave me {2}. So [a "
                "thief|somebody] took {3}.\"");
        tell(s, "And {A} *see the tracks of @ {n} [on the ground|in the soft earth|near the basket].");
    } else
        tell(s, "{A.he} *think: {1} {f}, {2} for {B.name}, {4} here; the {n} must have taken {3}.");
    if (left % 2 == 0 && left > 1) {
        number(s, '5', left / 2);
        tell(s, "^{A} *share what *be left with {B.name}, and each of them *get {5}$.");
    } else
        tell(s, "^{A} *eat one and *keep the rest [for winter|for {A.his} mother]$. ");
    moral(s, 'A');
}

static void broken(struct story *s)
{
    static const char *const stuffs[] = {"iron", "wood", "cloth", "clay"};
    const char *stuff = stuffs[pick(s, COUNT(stuffs))];
    int good = pick(s, 2) ? GOOD : BAD, k;
    do
        k = pick(s, COUNT(trades));
    while (!trades[k].mends || strcmp(trades[k].mends, stuff) != 0);
    cast(s, 'C', &trades[k], -1);
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, good), thing(s, 'o', stuff), place(s, 'p');
    hero(s);
    tell(s, "{A} *own {o.a}, and one morning {B.name} the {B.kind} *come to borrow {o.them}. \"Bring {o.them} back "
            "before [dark|supper|the bell rings],\" *say {A.name}. \"I promise,\" *say {B.name}.");
    about(s, 'B');
    tell(s, "[{B.name}, who {t}, *take|{B} *take] {o} {p.to}. There {B.he} [*slip on a wet stone|*fall over a "
            "root|*be frightened by a dog], and {o} {o:fall} and {o:break}.");
    interlude(s);
    if (good == GOOD) {
        tell(s, "{B.name} *be [as pale as milk|close to tears], but {B.he} *be {B.trait}, [and so|so] {B.he} *go "
                "straight {a.to}$. \"I have broken your {o.n},\" {B.he} *say. \"It was my fault.\"");
        tell(s, "{A} *be [angry|silent] for a moment$. \"[Thank you for telling me|It is good that you do not hide "
                "it],\" {A.he} *say then.");
    } else {
        spot(s, 'u');
        tell(s, "{B.name} *be too {B.trait} to [tell anyone|admit it]$. ^{B.he} *hide the pieces {u.in} {p.in}, and "
                "when {A} *ask for {A.his} {o.n}, {B.he} *say: \"[A thief took {o.them}|I gave {o.them} back|I never "
                "had {o.them}].\"");
        tell(s, "But [the next day|a week later] {A} *find the pieces {u.in} and *know [everything|that {B.name} "
                "*have lied]. \"The {o.n} can be mended,\" {A.he} *say, \"but who will mend my trust?\" And {B} "
                "*hang "
                "{B.his} head.");
    }
    word(s, 'k', stuff);
    tell(s, "Together they +bring {o} {c.to}, for {C.name} the {C.kind} *can mend anything made of {k}.");
    tell(s, "\"[It will be done by tomorrow|Give me three days|Nothing is easier],\" *say {C}, [and it *be so|and "
            "*keep {C.his} word]. ^{B.name} *pay for it [with {B.his} last coins|with a week of work|gladly]$.");
    if (good == GOOD)
        tell(s, "Ever since, {A} *lend {B.name} whatever {B.he} *ask for.");
    else
        tell(s, "But it *be [a long time|many years] before {A} *lend {B.name} anything again.");
    moral(s, good == GOOD ? 'B' : 'C');
}

/* Two animals that were helped once help in turn: each where what it can do is needed. */
static void journey(struct story *s)
{
    static const struct { const char *obstacle, *seen, *verb, *done; } ways[] = {
        {"cliff", "@ [high|steep] cliff *bar the way", "fly", "*fly up and let down a rope"},
        {"flood", "the river *have risen and the bridge *be gone", "swim", "*swim across and *pull a boat over"},
        {"wall", "@ [old|thick] wall without a gate *stand before {D.him}", "dig", "*dig a hole under the wall"},
        {"net", "{D} *step into a hunter's net and *hang there", "gnaw", "*gnaw through the net"},
        {"rock", "@ [huge|great] rock *lie on the road", "lift", "*lift the rock out of the way"},
        {"tree", "the key of the gate *hang high in a tree", "climb", "*climb up and *throw the key down"},
    };
    int k = pick(s, COUNT(animals)), l, order = pick(s, 2);
    do
        l = pick(s, COUNT(animals));
    while (strcmp(animals[l].can, animals[k].can) == 0);
    cast(s, 'A', NULL, -1), cast(s, 'C', NULL, -1), cast(s, 'E', &animals[k], -1), cast(s, 'F', &animals[l], -1);
    same(s, 'D', 'A');
    thing(s, 'o', NULL), place(s, 'p'), spot(s, 'u');
    hero(s);
    tell(s, "[Some time before|In the year of the great storm|As a child], {A.he} *have saved [two animals|the lives "
            "of two animals]: [{E.name} the {E.kind} and {F.name} the {F.kind}|@ {E.kind} named {E.name} and @ "
            "{F.kind} named {F.name}]. \"Call me when you need me,\" each of them *have told {A.him}.");
    tell(s, "Now {A.he} *must bring {o.a} to {C.name} the {C.kind}, who *live beyond {p} and *wait for {o.them} "
            "[since spring|eagerly]. ^{A.he} *pack {o} and *leave$.");
    for (int i = 0; i < 2; i++) {
        const struct kind *helper = &animals[(i ^ order) ? l : k];
        s->vars['G'] = s->vars[(i ^ order) ? 'F' : 'E'];
        for (int w = 0; w < COUNT(ways); w++)
            if (strcmp(ways[w].obstacle, helper->cannot_pass) == 0) {
                word(s, 'k', ways[w].seen), word(s, 'l', ways[w].done), word(s, 'm', ways[w].verb);
            }
        interlude(s);
        tell(s, i ? "[But soon|Before night|Not much further] {k}." : "[On the first day|Behind {p}|After an hour] "
                "{k}.");
        tell(s, "[\"Who can {m}?\" {A.he} *ask {A.himself}. Then {A.he} *remember {G.name}.|\"Only one who can {m} "
                "could help me,\" *think {A}, and {A.he} *call {G.name}.|{A} *do not despair, for {A.he} *know "
                "somebody who *can {m}: {G.name}.]");
        tell(s, "The {G.kind} *come [at once|before long|without delay], {l}, and {A} *go on.");
    }
    word(s, 'e', animals[k].can), word(s, 'f', animals[l].can);
    tell(s, "[So|In this way|At last] {o} {o:come} to {C.name}, who *put {o.them} {u.in}. \"[How did you get "
            "here|Was the road hard]?\" {C.he} *ask. \"[I was not alone|I have good friends],\" *say {A}. \"{E.name} "
            "can {e} and {F.name} can {f}.\"");
    moral(s, 'A');
}

static void contest(struct story *s)
{
    static const struct { const char *what, *many, *verb; } games[] = {
        {"who *can catch the most fish", "fish", "[caught|brought home]"},
        {"who *can bake the most pies", "pies", "baked"},
        {"who *can gather the most wood", "bundles of wood", "[gathered|carried home]"},
        {"who *can throw the most rings over the post", "rings", "thrown"},
        {"who *can tell the most riddles", "riddles", "told"},
    };
    int g = pick(s, COUNT(games)), order[3] = {0, 1, 2}, score[3];
    score[0] = 2 + pick(s, 5), score[1] = score[0] + 1 + pick(s, 5), score[2] = score[1] + 1 + pick(s, 6);
    for (int i = 2; i > 0; i--) {
        int j = pick(s, i + 1), t = order[i];
        order[i] = order[j], order[j] = t;
    }
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, -1), cast(s, 'C', NULL, -1), cast(s, 'D', NULL, -1);
    thing(s, 'o', NULL), place(s, 'p');
    word(s, 'k', games[g].what), word(s, 'f', games[g].many), word(s, 'v', games[g].verb);
    hero(s);
    tell(s, "{A} *have {o.a} and *want to give {o.them} away[, but to whom|]$. \"[Let there be a contest|We shall "
            "have a game],\" {A.he} *say: {o} {o:will} go to the one {k}.");
    tell(s, "Three people +come {p.to}: {B.name} the {B.kind}, {C.name} the {C.kind} and {D.name} the {D.kind}.");
    if (chance(s, 60)) {
        about(s, "BCD"[pick(s, 3)]);
        tell(s, "{Z.name}, who {t}, [*be sure to win|*hope for {o}|*say not a word].");
    }
    interlude(s);
    for (int i = 0; i < 3; i++) {
        same(s, 'G', "BCD"[i]);
        number(s, '1', score[order[i]]);
        if (i == 0)
            tell(s, "[In the evening|At noon|When the time *be over] they +count. {G.name} *have {v} {1} {f}.");
        else if (score[order[i]] > score[order[i - 1]])
            tell(s, "{G.name} *have {v} more[ than that|]: {1} {f}.");
        else
            tell(s, "{G.name}[, who *be {G.trait},|] *have {v} only {1}.");
        same(s, "xyz"[order[i]], 'G');
    }
    int twice = score[2] == 2 * score[1];
    tell(s, twice ? "\"{z.name} has twice as many as {y.name}!\" [they +shout|*say {A}]."
                  : "\"{z.name} has the most,\" *say {A}, \"then comes {y.name}, and {x.name} is the last.\"");
    tell(s, "So {A} *give {o} to {z.name}[, who *dance for joy|, and everyone *clap|].");
    same(s, 'G', 'z');
    switch (s->vars['x'].person->trait->nature) {
    case GOOD: tell(s, "{x.name}, {x.trait} as {x.he} *be, *be the first to [congratulate {z.him}|shake {z.his} "
            "hand]."); break;
    case BAD: tell(s, "But {x.name}, {x.trait} as {x.he} *be, *go home without a word."); break;
    case NEITHER: tell(s, "{x.name} [*laugh and *say|*promise] that next year it *will be {x.his} turn."); break;
    }
    moral(s, 'A');
}

static void promise(struct story *s)
{
    static const struct { const char *task, *loss, *repair; } tasks[] = {
        {"watch the goats", "the goats +have run into the [corn|hills]", "*bring them back one by one"},
        {"stir the soup", "the soup *be burnt black", "*cook a new one, with more salt and fewer onions"},
        {"keep the fire alive", "the fire *be out and the room cold", "*carry coals from house to house until it "
                "*burn again"},
        {"water the beans", "the beans +hang down, dry and yellow", "*carry water until midnight"},
        {"close the gate", "the pigs +have eaten the cabbage", "*plant new cabbage in every row"},
        {"guard the washing", "the wind *have blown the shirts into the mud", "*wash every shirt again"},
        {"feed the hens", "the hens +have flown over the fence", "*lure them home with grain"},
        {"ring the bell at noon", "nobody *have come home to eat", "*run through the fields and *call everyone"},
    };
    int k = pick(s, COUNT(tasks)), kept = chance(s, 35);
    cast(s, 'A', NULL, kept ? GOOD : pick(s, 2) ? BAD : NEITHER), cast(s, 'B', NULL, -1), cast(s, 'C', NULL, -1);
    thing(s, 'o', NULL), place(s, 'p'), place(s, 'q');
    word(s, 'k', tasks[k].task), word(s, 'l', tasks[k].loss), word(s, 'm', tasks[k].repair);
    hero(s);
    tell(s, "{C.name} the {C.kind} *must go {p.to}. \"Will you {k} while I am {p.in}?\" {C.he} *ask. \"[Of "
            "course|You can rely on me|I will],\" *say {A.name}.");
    tell(s, "Hardly *have {C} left when {B.name} the {B.kind} *come by. \"Come {q.to},\" *say {B.name}, \"[I want to "
            "show you my {o.n}|somebody has lost {o.a} there|they are selling {o.a} there]!\"");
    interlude(s);
    if (kept) {
        tell(s, "^{A} *want very much to see {o}$. But {A.he} *be {A.trait}, and a promise *be a promise. \"[Not "
                "now|Another time],\" {A.he} *say. \"I have to {k}.\"");
        tell(s, "When {C} *come back from {p}, all *be well. \"[I knew it|You kept your word],\" {C.he} *say, [and "
                "*give {A.him} a coin|and together they +go {q.to} to see {o}].");
        moral(s, 'A');
        return;
    }
    tell(s, "^{A} *forget [what {A.he} *have promised|{C.name} and the promise] and *run {q.to}$. [There {A.he} "
            "*look at {o} for an hour.|{o} {o:be} really there, {o.colour} and shining.|They +spend the whole "
            "afternoon there.]");
    tell(s, "When {A.he} *come back, {l}. \"You said that you would {k}!\" *cry {C}, who *have just come from {p}. "
            "[\"I was {q.in},\" *say {A} [quietly|at last].|{A} *look at the ground.]");
    tell(s, "There *be only one thing to do. {A} {m}. [It *take the whole night.|{B.name}, who *feel guilty, *help "
            "{A.him}.|When it *be done, {C} *forgive {A.him}.] ");
    tell(s, "\"Next time,\" {A.he} *say, \"{o} can wait[ until I have done what I promised|].\"");
    moral(s, 'C');
}

static void box(struct story *s)
{
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, -1), cast(s, 'C', NULL, -1);
    thing(s, 'x', NULL), thing(s, 'o', NULL), place(s, 'p'), place(s, 'q'), spot(s, 'u'), spot(s, 'v');
    number(s, '1', 4 + pick(s, 9));
    word(s, 'k', colours[pick(s, COUNT(colours))]);
    hero(s);
    tell(s, "[While {A.he} *clean up {p.in}|One evening {p.in}], {A.he} *find a {k} box {u.in}. It *be locked. On "
            "the lid *stand: [\"For the {B.kind}'s {B.son}.\"|\"Property of {B.name} the {B.kind}.\"|\"Knock {1} "
            "times.\"]");
    tell(s, "^{A} *carry it to {B.name} the {B.kind}$. \"[That is my box|I know that box],\" *say {B.he}. \"The key "
            "is {q.in}, {v.in}. [You must knock {1} times before you turn it.|Turn it {1} times.|Count to {1} and "
            "then turn it.]\"");
    if (chance(s, 50)) {
        other(s, 'C');
        tell(s, "{C.he} *want to come too, and so they +go {q.to} together.");
    } else
        tell(s, "So {A.he} *go {q.to}.");
    interlude(s);
    tell(s, "[The key *be indeed {v.in}.|It *take a while, but {v.in} *be a key.|{v.in} *lie [an iron|a rusty|a "
            "tiny] key.] Back {p.in}, {A} *count: [one, two, three, and so on.|{1} times, as {B} *have said.] Then "
            "the {k} box *spring open.");
    tell(s, "In it +be {x.a} and a letter. \"[Dear {B.name}|My {B.child}],\" it *read, \"{x} belonged to your "
            "[mother|father|uncle]. [Take good care of {x.them}|Give {x.them} to someone {A.trait}|Never sell "
            "{x.them}].\"");
    if (chance(s, 50))
        tell(s, "^{A} *bring {B.name} what *belong to {B.him}$. ^{B.he} *hold {x} in {B.his} hands and *smile$. "
                "\"Keep the {k} box,\" {B.he} *say, \"and take {o.a} for your trouble.\"");
    else
        tell(s, "^{B.name} *read the letter [twice|aloud|with wet eyes] and *say: \"You keep {x.them}, {A.name}. You "
                "are {A.trait}, and I am old.\" So {x} {x:stay} with {A}.");
    moral(s, 'B');
}

static void gifts(struct story *s)
{
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, -1), cast(s, 'C', NULL, -1), cast(s, 'D', NULL, -1);
    thing(s, 'x', NULL), thing(s, 'y', NULL), thing(s, 'o', NULL);
    number(s, '1', 10 + pick(s, 15));
    hero(s);
    tell(s, "[Tomorrow|That day] {A.he} *be {1} years old, and {A.he} *invite three friends {a.to}.");
    tell(s, "{B.name} the {B.kind} *come first and *bring {x.a}. [Then *come|After {B.him} *come] {C.name} the "
            "{C.kind} with {y.a}. The last *be {D.name} the {D.kind}, who *give {A.him} {o.a}.");
    about(s, "BCD"[pick(s, 3)]);
    tell(s, "[{Z.name}, who {t}, *tell a long story.|They +eat cake and +sing.|\"You are {1} now,\" *say {Z.name}, "
            "\"and still so {A.trait}!\"]");
    interlude(s);
    tell(s, "[At night|The next morning|When all guests +be gone], {A} *look at the gifts and *think of {A.his} "
            "friends.");
    static const char *const back[] = {"\"{x} {x!be} from {B.name},\"",
                                       "\"{y} {y!be} from {C.name},\"",
                                       "\"{o} {o!be} from {D.name},\""};
    int first = pick(s, 3), second = (first + 1 + pick(s, 2)) % 3;
    word(s, 'k', back[first]), word(s, 'l', back[second]);
    tell(s, "{k} {A.he} *say, and {l} {A.he} *add.");
    same(s, 'G', "BCD"[3 - first - second]);
    same(s, 'n', "xyo"[3 - first - second]);
    tell(s, "[And who brought {n}? It *be {G.name}|Only {n} {n:be} left; {A.he} *remember that {G.name} *have "
            "brought {n.them}]. [So {A.he} *write three letters of thanks.|Then {A.he} *put everything in its place "
            "and *go to bed.]");
    if (chance(s, 50))
        tell(s, "The first letter *be for the {B.kind}, the second for the {C.kind}, and the third for the "
                "{D.kind}.");
    moral(s, 'A');
}

/* The trade of the culprit shows in what was left behind. */
static void culprit(struct story *s)
{
    cast(s, 'A', NULL, -1), cast(s, 'B', NULL, -1), cast(s, 'C', NULL, -1), cast(s, 'D', NULL, -1);
    thing(s, 'o', NULL), place(s, 'p'), place(s, 'q'), place(s, 'r'), spot(s, 'u');
    int guilty = pick(s, 3);
    same(s, 'G', "BCD"[guilty]), same(s, 'g', "bcd"[guilty]);
    word(s, 'k', s->vars['G'].person->kind->trace);
    word(s, 'm', s->vars['G'].person->kind->makes);
    same(s, 'x', "BCD"[(guilty + 1) % 3]), same(s, 'y', "BCD"[(guilty + 2) % 3]);
    hero(s);
    tell(s, "One morning {A.his} {o.n} {o:be} gone. [Yesterday|The evening before] {o.it} {o:have} still been "
            "{u.in}.");
    tell(s, "[Three people +have been there|Only three people *can have done it]: {B.name} the {B.kind}, {C.name} "
            "the {C.kind} and {D.name} the {D.kind}. [\"I was {p.in},\" *say {B.name}. \"And I {q.in},\" *say "
            "{C.name}. {D.name} *claim to have been {r.in}.|Each of them *say: \"It was not I.\"|{A} *ask one after "
            "the other, but nobody *want to have seen {o}.]");
    interlude(s);
    tell(s, "^{A} *look {u.in} again[, this time with a lamp|]$. ^{A.he} *find {k} on the floor$. [\"{k}!\" {A.he} "
            "*call. \"Now I know who it was.\"|{A.he} *begin to think. Who *have {k} on the shoes?]");
    tell(s, "^{A.he} *go {g.to}, where {G} *make {m}$. \"{G.name},\" {A.he} *say, \"[you have left {k} where my "
            "{o.n} {o!have} been|somebody with {k} on the shoes was {u.in}].\"");
    switch (s->vars['G'].person->trait->nature) {
    case GOOD: tell(s, "{G.name}, who *be {G.trait}, *hide nothing. \"I only wanted to borrow {o.them},\" {G.he} "
            "*say and *give {o.them} back."); break;
    case BAD: tell(s, "{G.name}, who *be {G.trait}, *shout and *deny it, until {A} *find {o} behind the {m}."); break;
    case NEITHER: tell(s, "{G.name}, who *be {G.trait}, *turn red. \"[Oh|Dear me],\" {G.he} *say, \"I took {o.them} "
            "without thinking!\""); break;
    }
    if (chance(s, 60))
        tell(s, "[The other two, {x.name} and {y.name}, +be glad|{A} *go to {x.name} and {y.name} and *say that "
                "{A.he} *be sorry].");
    moral(s, 'A');
}

#endif
