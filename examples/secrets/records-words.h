/* The lexicon of make-records: surnames, villages, and what a secret is made of. People have the stories' first names. */
#ifndef RECORDS_WORDS_H
#define RECORDS_WORDS_H

#include "../stories/stories-words.h"

/*
 * Who a record is about is 24 bits: first name (32), surname (32 beginnings, 32 endings), village (32 beginnings, 16
 * endings). Whoever adds words keeps the counts; that no two pairs spell the same name is checked in tests/cli/records.bats.
 */
static const char *const surname_beginnings[32] = {
    "Hal",  "Bram", "Win",  "Car",  "Thorn", "Mel",  "Sör",  "Pen",  "Grim", "Lock", "Vas",  "Dun", "Kess", "Rav", "Ol",  "Fen",
    "Stan", "Bir",  "Quin", "Hest", "Møl",   "Tarn", "Wes",  "Yar",  "Zell", "Cob",  "Marn", "Ris", "Eld",  "Jor", "Nim", "Gav"};
static const char *const surname_endings[32] = {
    "berg", "well", "man",  "ford",  "stone", "ick",  "ham",  "ley",   "son", "worth", "ler", "gate", "mark", "by",  "dal",  "ton",
    "ner",  "shaw", "kin",  "croft", "ov",    "ster", "hart", "brook", "ard", "quist", "mer", "lund", "eby",  "rup", "fast", "wick"};
static const char *const village_beginnings[32] = {
    "Ash",  "Nether", "Kings", "Salt",  "Wolf", "Long", "Mill", "Oster", "Black", "Tam",   "Gold", "Hollow", "Swan",  "Over", "Frost", "Bell",
    "Upper", "Stag",  "Crow",  "Lind",  "Mid",  "Rush", "Sand", "Thistle", "West", "Amber", "Coal", "Dove",  "Elm",  "Heron", "Iron",  "Lamb"};
static const char *const village_endings[16] = {"ford", "bury", "holm", "dale",  "mouth", "stead", "wick", "cross",
                                                "haven", "moor", "gate", "field", "ness", "combe", "thorpe", "bridge"};

static const char *const streets[32] = {
    "Tanner", "Rope", "Candle", "Bishop", "Market", "Abbey", "Cherry", "Anchor", "Baker", "Castle", "Dyer", "Eagle", "Fish", "Garden", "Hatter", "Ivy",
    "Juniper", "Kiln", "Ladder", "Mint", "Needle", "Orchard", "Plum", "Quarry", "Raven", "Saddle", "Temple", "Union", "Velvet", "Wagon", "Yellow", "Zinc"};
static const char *const ways[8] = {"Lane", "Street", "Row", "Hill", "Yard", "Alley", "Walk", "Square"};
/* Words that open doors: four of these make one. */
static const char *const sounds[64] = {
    "ba", "be", "bi", "bo", "bu", "da", "de", "di", "do", "du", "fa", "fe", "fi", "fo", "fu", "ga", "ge", "gi", "go", "gu", "ka", "ke",
    "ki", "ko", "ku", "la", "le", "li", "lo", "lu", "ma", "me", "mi", "mo", "mu", "na", "ne", "ni", "no", "nu", "pa", "pe", "pi", "po",
    "pu", "ra", "re", "ri", "ro", "ru", "sa", "se", "si", "so", "su", "ta", "te", "ti", "to", "tu", "va", "ve", "vi", "vo"};
static const char *const illnesses[32] = {
    "stone fever", "grey cough", "weak heart", "night blindness", "marsh fever", "red rash", "slow blood", "winter gout",
    "deaf ear", "shaking hands", "falling sickness", "green sickness", "sleeping fever", "bad lung", "brittle bones", "dropsy",
    "salt thirst", "iron lung", "black bile", "dry eyes", "lost taste", "sour stomach", "crooked spine", "cold feet",
    "broken sleep", "spotted tongue", "hay fever", "swollen knees", "ringing ears", "pale skin", "short breath", "old wound"};
static const char *const remedies[32] = {
    "foxglove", "poppy", "valerian", "wormwood", "arnica", "camphor", "mint", "fennel", "garlic", "honey", "juniper",
    "lavender", "mustard", "nettle", "oak bark", "pepper", "quinine", "rosemary", "sage", "thyme", "vinegar", "willow",
    "yarrow", "aloe", "balm", "clove", "dill", "elder", "ginger", "hops", "ivy", "moss"};
#endif
