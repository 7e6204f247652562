/* The lexicon of make-stories: people, traits, things, places and verbs, all of the project's own choosing. */
#ifndef STORIES_WORDS_H
#define STORIES_WORDS_H

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static const char *const she_names[] = {"Mara", "Lena", "Ida", "Nora", "Tilda", "Ruth", "Wanda", "Greta",
                                        "Olive", "Pia", "Hazel", "Anna", "Clara", "Dora", "Elsa", "Freda"};
static const char *const he_names[] = {"Otto", "Emil", "Jonas", "Peter", "Karl", "Hugo", "Finn", "Oscar",
                                       "Ralf", "Simon", "Theo", "Bruno", "Walter", "Anton", "Leo", "Max"};

struct place {
    const char *noun, *prep; /* "mill", "in" */
};
static const struct place places[] = {
    {"kitchen", "in"},   {"garden", "in"}, {"barn", "in"},     {"market", "at"},  {"forest", "in"},
    {"meadow", "in"},    {"well", "at"},   {"harbour", "at"},  {"cellar", "in"},  {"attic", "in"},
    {"orchard", "in"},   {"stable", "in"}, {"library", "in"},  {"lake", "at"},    {"tower", "in"},
    {"cave", "in"},      {"inn", "at"},    {"old bridge", "at"}, {"school", "at"}, {"hill", "on"},
};

/* Where the people of a trade are found, what they leave behind, what they make and what they mend. */
struct kind {
    const char *noun;
    struct place home;
    const char *trace, *makes, *mends; /* NULL: none */
    const char *can, *cannot_pass;     /* animals: what they can do, and the obstacle that it overcomes */
};
static const struct kind trades[] = {
    {"baker", {"bakery", "in"}, "flour", "bread", 0, 0, 0},
    {"miller", {"mill", "in"}, "grain", "flour", 0, 0, 0},
    {"potter", {"pottery", "in"}, "wet clay", "bowls", "clay", 0, 0},
    {"weaver", {"weaving room", "in"}, "wool", "blankets", "cloth", 0, 0},
    {"carpenter", {"workshop", "in"}, "sawdust", "chairs", "wood", 0, 0},
    {"smith", {"smithy", "in"}, "soot", "horseshoes", "iron", 0, 0},
    {"fisher", {"boathouse", "in"}, "fish scales", "nets", 0, 0, 0},
    {"shepherd", {"sheepfold", "at"}, "straw", "cheese", 0, 0, 0},
    {"gardener", {"greenhouse", "in"}, "black earth", "honey", 0, 0, 0},
    {"painter", {"studio", "in"}, "blue paint", "pictures", 0, 0, 0},
    {"tailor", {"tailor shop", "in"}, "thread", "coats", "cloth", 0, 0},
    {"teacher", {"school house", "in"}, "chalk", "maps", 0, 0, 0},
    {"beekeeper", {"bee yard", "in"}, "wax", "candles", 0, 0, 0},
    {"charcoal burner", {"hut", "in"}, "ashes", "charcoal", 0, 0, 0},
};
static const struct kind animals[] = {
    {"crow", {"tall oak", "in"}, 0, 0, 0, "fly", "cliff"},
    {"owl", {"ruin", "in"}, 0, 0, 0, "fly", "cliff"},
    {"otter", {"river", "at"}, 0, 0, 0, "swim", "flood"},
    {"duck", {"pond", "at"}, 0, 0, 0, "swim", "flood"},
    {"badger", {"sand pit", "in"}, 0, 0, 0, "dig", "wall"},
    {"mole", {"field", "in"}, 0, 0, 0, "dig", "wall"},
    {"mouse", {"straw heap", "in"}, 0, 0, 0, "gnaw", "net"},
    {"beaver", {"dam", "at"}, 0, 0, 0, "gnaw", "net"},
    {"bear", {"den", "in"}, 0, 0, 0, "lift", "rock"},
    {"ox", {"pasture", "in"}, 0, 0, 0, "lift", "rock"},
    {"cat", {"courtyard", "in"}, 0, 0, 0, "climb", "tree"},
    {"squirrel", {"pine wood", "in"}, 0, 0, 0, "climb", "tree"},
};

enum nature { GOOD, BAD, NEITHER }; /* would a person of this trait own up to a mistake? */
/* In the phrases below {Z} is the person spoken of; verbs are marked as in stories-text.h. */
struct trait {
    const char *adjective;
    enum nature nature;
    const char *clause; /* "who ..." about {Z} */
    const char *noun;   /* what others say of it */
};
static const struct trait traits[] = {
    {"honest", GOOD, "[|almost ]never *tell a lie", "honesty"},
    {"brave", GOOD, "*be afraid of [nothing|nobody|neither storms nor wolves]", "courage"},
    {"kind", GOOD, "*help [everyone|anyone] who *ask", "kindness"},
    {"patient", GOOD, "*can wait longer than [anyone else|a stone]", "patience"},
    {"clever", GOOD, "*have an answer to [every|almost every] question", "good sense"},
    {"careful", GOOD, "*look twice before [each step|{Z.he} *do anything]", "care"},
    {"generous", GOOD, "*give away more than {Z.he} *keep", "generosity"},
    {"shy", BAD, "*speak [only when spoken to|very little]", "silence"},
    {"proud", BAD, "*do not like to be wrong", "pride"},
    {"greedy", BAD, "always *want [more|the biggest piece]", "greed"},
    {"stubborn", BAD, "*listen to nobody", "stubbornness"},
    {"lazy", BAD, "*sleep [until noon|through half of the day]", "laziness"},
    {"curious", NEITHER, "*have to look [into every box|behind every door]", "curiosity"},
    {"clumsy", NEITHER, "*drop whatever {Z.he} *touch", "clumsiness"},
    {"forgetful", NEITHER, "*forget [names|promises|where things +be] [before noon|within an hour]", "bad memory"},
    {"cheerful", NEITHER, "*sing from morning to night", "singing"},
};

struct noun {
    const char *word;
    int plural;
    const char *stuff; /* what it is made of, for mending */
    const char *use;   /* why one would want it: "to ..." */
};
static const struct noun things[] = {
    {"kite", 0, "cloth", "to play in the wind"},     {"drum", 0, "wood", "to make music"},
    {"lamp", 0, "iron", "to read at night"},         {"boots", 1, "cloth", "to walk through the mud"},
    {"gloves", 1, "cloth", "to keep warm hands"}, {"scarf", 0, "cloth", "to wear in the cold wind"},
    {"hat", 0, "cloth", "to keep the sun off"},      {"kettle", 0, "iron", "to boil water for tea"},
    {"rope", 0, "cloth", "to tie up the boat"},      {"bell", 0, "iron", "to call the goats"},
    {"flute", 0, "wood", "to play at the dance"},    {"mirror", 0, "wood", "to look into"},
    {"blanket", 0, "cloth", "to sleep under"},       {"knife", 0, "iron", "to cut bread"},
    {"bucket", 0, "wood", "to carry water"},         {"hammer", 0, "iron", "to mend the roof"},
    {"clock", 0, "wood", "to be on time"},           {"jug", 0, "clay", "to pour milk"},
    {"scissors", 1, "iron", "to cut cloth"},         {"skates", 1, "iron", "to glide over the ice"},
    {"umbrella", 0, "cloth", "to stay dry"},         {"ladder", 0, "wood", "to reach the roof"},
    {"wagon", 0, "wood", "to carry stones"},         {"necklace", 0, "iron", "to wear at the wedding"},
    {"bowl", 0, "clay", "to eat soup"},              {"teapot", 0, "clay", "to make tea for guests"},
    {"spade", 0, "iron", "to dig up the beans"},     {"broom", 0, "wood", "to sweep the floor"},
    {"curtains", 1, "cloth", "to hang at the window"}, {"tongs", 1, "iron", "to hold hot coals"},
};
static const char *const colours[] = {"red", "blue", "green", "yellow", "white", "black", "brown", "grey"};
static const char *const sizes[] = {"small", "big", "old", "new", "fine", "heavy", "strange", "simple"};

struct fruit {
    const char *one, *many, *from;
};
static const struct fruit fruits[] = {
    {"apple", "apples", "tree"},     {"pear", "pears", "tree"},        {"plum", "plums", "tree"},
    {"egg", "eggs", "nest"},         {"nut", "nuts", "bush"},          {"carrot", "carrots", "bed"},
    {"onion", "onions", "bed"},      {"mushroom", "mushrooms", "moss"}, {"potato", "potatoes", "bed"},
    {"cherry", "cherries", "tree"},  {"turnip", "turnips", "bed"},     {"rose", "roses", "bush"},
};

static const struct place spots[] = {
    {"chest", "in"},      {"cupboard", "in"},   {"bench", "under"},  {"table", "under"},   {"door", "behind"},
    {"stove", "behind"},  {"top shelf", "on"},  {"barrel", "in"},    {"bed", "under"},     {"sack", "in"},
    {"wood pile", "behind"}, {"flat stone", "under"}, {"hollow tree", "in"}, {"hay", "in"}, {"window sill", "on"},
    {"drawer", "in"},     {"wash tub", "in"},     {"stairs", "under"},
};

struct season {
    const char *name, *weather, *beat; /* the second: a clause, the third: a sentence in between */
};
static const struct season seasons[] = {
    {"spring", "[the snow *have melted and the first flowers +open|the birds +build their nests|it *rain every other "
            "day]",
     "[A cuckoo *call from the wood|The brook *run high with melted snow|It *smell of wet earth]."},
    {"summer", "[the days +be long and hot|the bees +fly over the clover|there *be no cloud in the sky]",
     "[The air *shake with heat|A storm *come up, but it *pass by|The corn *stand high and yellow]."},
    {"autumn", "[the wind *blow the leaves from the trees|fog *lie over the fields|the harvest *be over]",
     "[Geese +fly over the roofs to the south|Smoke *rise from the fields|It *get dark early]."},
    {"winter", "[snow *lie on all the roofs|the lake *be frozen|it *be dark before supper]",
     "[The snow *creak under every step|Ice *hang from the roof|It *be so cold that the ink *freeze]."},
};

static const char *const numbers[] = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty", "twenty-one", "twenty-two", "twenty-three", "twenty-four"};
static const char *const proverbs[] = {
    "who asks will find", "a full sack does not stand long", "three can keep a secret if two of them are asleep",
    "every road has a stone", "a kind word opens iron doors", "what is lent is half lost",
    "he who runs twice walks home", "the moon does not hurry", "a lie has short legs", "after the rain comes the mud",
    "even a small key opens a great gate", "who counts his hens at night sleeps well",
};

/* Verbs that do not follow the rules: base, past, third person; past and present of the plural where they differ. */
struct verb {
    const char *base, *past, *third, *past_plural, *present_plural;
};
static const struct verb verbs[] = {
    {"be", "was", "is", "were", "are"}, {"have", "had", "has", 0, 0}, {"do", "did", "does", 0, 0},
    {"can", "could", "can", 0, 0}, {"will", "would", "will", 0, 0}, {"must", "had to", "must", 0, 0},
    {"go", "went", "goes", 0, 0}, {"say", "said", 0, 0, 0}, {"tell", "told", 0, 0, 0}, {"think", "thought", 0, 0, 0},
    {"find", "found", 0, 0, 0}, {"give", "gave", 0, 0, 0}, {"take", "took", 0, 0, 0}, {"put", "put", 0, 0, 0},
    {"see", "saw", 0, 0, 0}, {"come", "came", 0, 0, 0}, {"run", "ran", 0, 0, 0}, {"know", "knew", 0, 0, 0},
    {"make", "made", 0, 0, 0}, {"keep", "kept", 0, 0, 0}, {"hold", "held", 0, 0, 0}, {"bring", "brought", 0, 0, 0},
    {"leave", "left", 0, 0, 0}, {"lose", "lost", 0, 0, 0}, {"hide", "hid", 0, 0, 0}, {"hear", "heard", 0, 0, 0},
    {"stand", "stood", 0, 0, 0}, {"sit", "sat", 0, 0, 0}, {"lie", "lay", 0, 0, 0}, {"fall", "fell", 0, 0, 0},
    {"speak", "spoke", 0, 0, 0}, {"sing", "sang", 0, 0, 0}, {"sleep", "slept", 0, 0, 0}, {"feel", "felt", 0, 0, 0},
    {"begin", "began", 0, 0, 0}, {"break", "broke", 0, 0, 0}, {"forget", "forgot", 0, 0, 0}, {"eat", "ate", 0, 0, 0},
    {"buy", "bought", 0, 0, 0}, {"sell", "sold", 0, 0, 0}, {"win", "won", 0, 0, 0}, {"get", "got", 0, 0, 0},
    {"catch", "caught", 0, 0, 0}, {"send", "sent", 0, 0, 0}, {"set", "set", 0, 0, 0}, {"shake", "shook", 0, 0, 0},
    {"swim", "swam", 0, 0, 0}, {"fly", "flew", 0, 0, 0}, {"dig", "dug", 0, 0, 0}, {"build", "built", 0, 0, 0},
    {"blow", "blew", 0, 0, 0}, {"grow", "grew", 0, 0, 0}, {"spend", "spent", 0, 0, 0}, {"wake", "woke", 0, 0, 0},
    {"let", "let", 0, 0, 0}, {"pay", "paid", 0, 0, 0}, {"mean", "meant", 0, 0, 0}, {"meet", "met", 0, 0, 0},
    {"read", "read", 0, 0, 0}, {"throw", "threw", 0, 0, 0}, {"steal", "stole", 0, 0, 0}, {"become", "became", 0, 0, 0},
    {"drop", "dropped", 0, 0, 0}, {"stop", "stopped", 0, 0, 0}, {"nod", "nodded", 0, 0, 0}, {"slip", "slipped", 0, 0, 0},
    {"beg", "begged", 0, 0, 0}, {"hug", "hugged", 0, 0, 0}, {"write", "wrote", 0, 0, 0}, {"rise", "rose", 0, 0, 0},
    {"shine", "shone", 0, 0, 0}, {"hurt", "hurt", 0, 0, 0}, {"swear", "swore", 0, 0, 0}, {"hang", "hung", 0, 0, 0},
    {"ring", "rang", 0, 0, 0},
    {"clap", "clapped", 0, 0, 0}, {"step", "stepped", 0, 0, 0}, {"bar", "barred", 0, 0, 0}, {"spring", "sprang", 0, 0, 0},
    {"weep", "wept", 0, 0, 0}, {"rot", "rotted", 0, 0, 0}, {"hum", "hummed", 0, 0, 0}, {"drink", "drank", 0, 0, 0}, {"bathe", "bathed", 0, 0, 0},
    {"lend", "lent", 0, 0, 0}, {"wear", "wore", 0, 0, 0}, {"quarrel", "quarrelled", 0, 0, 0},
    {"freeze", "froze", 0, 0, 0}, {"teach", "taught", 0, 0, 0}, {"burn", "burnt", 0, 0, 0},
};
#endif
