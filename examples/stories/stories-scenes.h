/* What lies between the events of a plot: scenery, company, clothes, meals, talk. Free, but true to what was said. */
#ifndef STORIES_SCENES_H
#define STORIES_SCENES_H

#include "stories-text.h"

/* Phrases at hand in every story, under letters and signs that no plot uses. They nest. */
static const struct { char letter; const char *phrase; } phrases[] = {
    {'O', "[brook|fence|stone "
            "wall|cart|haystack|chapel|willow|birch|ditch|chimney|gate|signpost|lantern|beehive|scarecrow|"
          "rowing boat|water wheel|milestone|fountain|flag pole|rain "
          "barrel|dovecote|statue|hedge|pump|grave|tent|anchor|"
          "puddle|balcony|staircase|cannon|windmill|tunnel|arch|altar|swing|trough|ferry|lighthouse]"},
    {'Q', "[crooked|mossy|narrow|broken|empty|silent|bright|dusty|round|tall|low|pale|dark|wet|warm|lonely|rusty|forgotten|"
          "painted|hollow|well-kept|shabby|frozen|smoking|haunted|leaning|sunken|polished|nameless|famous|crumbling|bare]"},
    {'=', "[beside|behind|near|under|above|in front of|opposite|not far from]"},
    {'%', "[*lean|*sleep|*glitter|*creak|*wait|*rot|*hum|*smoke|*shine|*rest|*tremble|*stand|*vanish|*burn|*grow|*sway]"},
    {'&', "[@|the] [old|young|blind|tired|foreign|drunken|barefoot|bearded|hungry|sleepless|silent|laughing] "
            "[widow|soldier|monk|"
          "pedlar|judge|barber|hunter|ferryman|beggar|bride|cook|clerk|midwife|piper|nurse|sexton|juggler|printer]"},
    {'<', "[*carry|*sell|*polish|*paint|*count|*admire|*repair|*hide|*weigh|*steal|*bury|*sketch|*guard|*pull|*burn|*find] [@ {Q} "
          "{O}|{#} [goats|barrels|candles|ropes|letters|coins|bells|feathers|bricks|herrings]|@ "
          "[basket|sack|bowl|cart] of {I}]"},
    {'M', "[slowly|quickly|softly|loudly|sadly|gladly|angrily|proudly|carefully|in a hurry|as if in a dream]"},
    {'U', "[sparrows|children|travellers|soldiers|pedlars|pilgrims|old "
            "men|lovers|beggars|cows|sailors|widows|crickets|wolves|"
          "musicians|strangers|bats|swans|foxes|herons]"},
    {'V', "[+rest|+wait|+sing|+quarrel|+dance|+hide from the rain|+gather on holidays|+tell each other "
            "news|+drink|+pray|+gamble|"
          "+weep|+wrestle|+sleep|+bathe|+beg|+whisper]"},
    {'I', "[rainwater|dead leaves|cobwebs|snails|feathers|sand|old letters|swallows|ants|broken glass]"},
    {'X', "[bread|barley soup|porridge|dumplings|smoked fish|pancakes] with "
            "[cheese|butter|herbs|cream|salt|mustard|raisins]"},
    {'Y', "[queen|giant|whale|wolf|dragon|ghost|king|thief] [who *can {H}|with [seven|golden|wooden] "
            "[eyes|teeth|fingers]]"},
    {'T', "[hour|day|night|journey|dream|winter|silence|meal]"},
    {'^', "[After [two|three|five|seven] [hours|minutes|days]|After a [short|long|bad|quiet] {T}|With "
            "[trembling|cold|quick|empty|"
          "folded] hands|On a [clear|foggy|windy|bright|grey] [morning|evening|afternoon]|In the [light|shadow] of "
          "the {O}|Without "
          "[a word|haste|breakfast|looking back]|While {U} {V}|As soon as the [rain|wind|music|noise] *stop|Half "
          "[asleep|frozen|"
          "blind with tears|mad with joy]|To everyone's "
          "[surprise|delight|dismay]|[Humming|Whistling|Cursing|Sighing] {M}|Before "
          "[dawn|dinner|the clock *strike {#}]|[Once more|At last|By chance|As usual|In the end|All of a sudden]]"},
    {'$', "[, while {U} {V} near the {O}|, with @ {Q} [heart|voice|face|look]|, past the {Q} {O}|, as "
            "[cold|quiet|quick|patient|poor] as "
          "@ [stone|mouse|fox|monk|clock]|, and [nobody|only the moon|half the village|a {Q} cat] *see it|, for [the "
          "third|the last|"
          "the first] time that [day|week|year]|, [thinking|dreaming|talking] of [{X}|a {Y}|{U}|the sea|better "
          "days]|, which "
          "[*surprise|*please|*worry] [the neighbours|the {U}|nobody]|, although {A.his} [feet|knees|hands|ears] +be "
          "[cold|sore|"
          "tired|wet]]"},
    {'#', "[two|three|four|five|six|seven|eight|nine|ten]"},
    {'H', "[walk on water|speak to stones|count the stars|carry a house|turn into a bird|sing like a bell]"},
};
static const struct noun garments[] = {
    {"apron", 0, 0, 0}, {"shawl", 0, 0, 0}, {"waistcoat", 0, 0, 0}, {"cap", 0, 0, 0},      {"belt", 0, 0, 0},
    {"cloak", 0, 0, 0}, {"shirt", 0, 0, 0}, {"stockings", 1, 0, 0}, {"trousers", 1, 0, 0}, {"mittens", 1, 0, 0},
};
static const struct { const char *noun, *sound; } companions[] = {
    {"dog", "*bark"}, {"goat", "*bleat"}, {"hen", "*cluck"}, {"donkey", "*bray"}, {"goose", "*hiss"},
    {"pony", "*neigh"}, {"kitten", "*purr"}, {"parrot", "*whistle"}};
static const char *const pets[] = {"Pepper", "Button", "Clover", "Ginger", "Biscuit", "Thistle", "Pumpkin", "Velvet"};
static const char *const relatives[] = {"sisters", "brothers", "children", "cousins", "aunts"};

enum { GARMENT, PET, KIN }; /* bits of story.told */

static void bind_phrases(struct story *s)
{
    for (int i = 0; i < COUNT(phrases); i++)
        word(s, phrases[i].letter, phrases[i].phrase);
}

/* Some of what the hero {A} wears, keeps and comes from. */
static void bind_belongings(struct story *s)
{
    int colour = pick(s, COUNT(colours)), garment = pick(s, COUNT(garments)), pet = pick(s, COUNT(companions));
    s->garment = (struct thing){&garments[garment], colours[colour], ""};
    s->vars['J'] = (struct variable){.type = THING, .thing = &s->garment};
    word(s, 'K', companions[pet].noun), word(s, 'S', companions[pet].sound);
    word(s, 'L', pets[pick(s, COUNT(pets))]);
    s->vars['N'] = (struct variable){.type = NUMBER, .number = 2 + pick(s, 7)};
    word(s, 'R', relatives[pick(s, COUNT(relatives))]);
}

/* Told now, called back by interlude(). */
static void belongings(struct story *s)
{
    bind_belongings(s);
    if (chance(s, 40)) {
        s->told |= 1 << GARMENT;
        tell(s, s->garment.noun->plural ? "[{A.he} always *wear|That day {A.he} *wear|Everyone *know {A.him} by "
                "{A.his}] "
                                          "{J.colour} {J.noun}."
                                        : "[{A.he} always *wear @|That day {A.he} *wear @|Everyone *know {A.him} by "
                                                "{A.his}] "
                                          "{J.colour} {J.noun}.");
    }
    if (chance(s, 40)) {
        s->told |= 1 << PET;
        tell(s, "[{A.his} {K} {L} *go wherever {A.he} *go|{A.he} *have a {K} called {L}|Nobody *love {A.him} more "
                "than {L}, "
                "{A.his} {K}].");
    }
    if (chance(s, 30)) {
        s->told |= 1 << KIN;
        tell(s, "[{A.he} *have {N} {R}|There +be {N} {R} to feed|{A.he} *live with {A.his} {N} {R}].");
    }
}

/* Calls back what belongings() told, where it did. */
static bool recall(struct story *s)
{
    int what = pick(s, 3);
    if (!(s->told >> what & 1))
        return false;
    switch (what) {
    case GARMENT:
        tell(s, "[{A.he} *wipe {A.his} hands on the {J.colour} {J.noun}|A drop of [ink|soup|rain] *fall on {A.his} "
                "{J.colour} "
                "{J.noun}|\"{J.colour} suits you,\" *say a stranger, who *look at {A.his} {J.noun}].");
        break;
    case PET:
        tell(s, "[{L} {S} [twice|{M}|at the moon]|The {K} {S}, and {A.name} *say: \"Quiet, {L}!\"|\"Come, {L},\" "
                "*say {A} to {A.his} "
                "{K}|{A.he} *share {A.his} [supper|bread] with {L}, and the {K} {S}].");
        break;
    case KIN:
        tell(s, "[{A.he} *think of {A.his} {N} {R} at home|\"What will my {R} say, all {N} of them?\" {A.he} *ask "
                "{A.himself}|Of {A.his} "
                "{N} {R}, only [one|two] [*can|+can] [read|swim|whistle]].");
        break;
    }
    return true;
}

/* A sentence of the surroundings, of which nothing follows. */
static void scenery(struct story *s)
{
    switch (pick(s, 9)) {
    case 0: tell(s, "{=} the {Q} {O} {%} @ {Q} {O}[, {Q} and {Q}|, full of {I}|, where {U} {V}|, which {U} +have "
            "[built|painted|left "
                    "behind]|]."); break;
    case 1: tell(s, "{&} {<}, [while|because|although|so that|until] {&} {<}."); break;
    case 2: tell(s, "{U} {V} {=} the {O}, [and|but] {&} {<}."); break;
    case 3: tell(s, "The {O} that {&} *have [built|bought|inherited|lost] *be {Q} and {Q}, [for|but|and] {U} {V} "
            "there."); break;
    case 4: tell(s, "It *be said that {&} *can {H}, [if|when|unless] {U} {V} {=} the {O}."); break;
    case 5: tell(s, "[When|If|As often as] {&} {<}, {U} {V}[, and the {Q} {O} {%}|]."); break;
    case 6: tell(s, "\"Have you seen the {Q} {O}?\" *ask {&}. \"No, only @ {Q} {O},\" *say {A} {M}."); break;
    case 7: tell(s, "Not the {Q} {O} but the {Q} one {%} {=} the {O}."); break;
    case 8: tell(s, "First {&} {<}, then {&} {<}[, and at last {&} {<}|]."); break;
    }
}

/* A breath between two scenes; the next sentence begins a new line. */
static void interlude(struct story *s)
{
    s->paragraph = true;
    if (chance(s, 20))
        return;
    for (int n = 1 + pick(s, 3); n > 0; n--)
        scenery(s);
    if (recall(s) || chance(s, 40))
        return;
    word(s, 'W', s->season->beat);
    word(s, 'P', proverbs[pick(s, COUNT(proverbs))]);
    switch (pick(s, 8)) {
    case 0: tell(s, "{W}"); break;
    case 1: tell(s, "[A dog *bark somewhere|Far away a bell *ring|The moon *rise over {a}|Nobody *be on the "
            "road]."); break;
    case 2: tell(s, "{A.name} *remember what {A.his} [mother|father|old teacher] always *say: \"{P}.\""); break;
    case 3: tell(s, "\"{P},\" {A} *say to {A.himself}[, although it *do not help much|, as {A.he} often "
            "*do|]."); break;
    case 4: tell(s, "{A.name} *eat {X} {M}[, because {A.he} *have not eaten since [morning|noon]|]."); break;
    case 5: tell(s, "[For a moment|That night] {A} *dream of a {Y}."); break;
    case 6: tell(s, "\"Are you not {A.name}, the {A.trait} {A.kind}?\" *ask [a child|an old woman|a pedlar]. \"[I "
            "am|That is my "
                    "name|Who wants to know],\" {A.he} *say {M}."); break;
    case 7: tell(s, "[A child|A beggar|A soldier] *ask [who {A.he} *be|for {A.his} name|where {A.he} *come from]. "
            "\"I am {A.name}, the "
                    "{A.kind},\" {A.he} *answer, \"and I come from {a}.\""); break;
    }
}
#endif
