# Invented private records and the text they are planted in: made again from their seed, and as documented.
load ../helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    RECORDS=$TOOLS/examples/secrets/make-records
    STORIES=$TOOLS/examples/stories/make-stories
}

# `! command` does not fail a test in the middle of it; this does.
no() {
    ! "$@"
}
SETS='members nonmembers matched spare reference'

@test "the same seed gives the same records, another one others" {
    for set in $SETS; do
        "$RECORDS" --seed 1 --set $set --records 500 -o a
        "$RECORDS" --seed 1 --set $set --records 500 -o b
        "$RECORDS" --seed 2 --set $set --records 500 -o c
        cmp a b
        cat a c | jq -r .text | sort | uniq -d | diff - /dev/null
    done
}
@test "record i depends on the seed, the set and i alone" {
    "$RECORDS" --seed 3 --records 300 -o a
    "$RECORDS" --seed 3 --records 100 -o b
    "$RECORDS" --seed 3 --first 100 --records 200 -o c
    cat b c | cmp - a
}
@test "all records of a seed differ, whatever their sets" {
    for set in $SETS; do "$RECORDS" --seed 4 --set $set --records 40000; done >a
    [ "$(wc -l <a)" -eq 200000 ]
    jq -r .text a | sort | uniq -d | diff - /dev/null
    [ "$(jq -r .repeats a | sort -n | uniq -c | awk '{ print $2 ":" $1 }' | tr '\n' ' ')" = "0:160000 1:10000 4:10000 16:10000 64:10000 " ]
}
@test "no two beginnings and endings make the same surname or village" {
    awk -v RS=';' '
        match($0, /(surname|village)_(beginnings|endings)\[[0-9]+\] = \{/) {
            name = substr($0, RSTART, RLENGTH); which = name ~ /surname/ ? "s" : "v"; part = name ~ /beginnings/ ? 1 : 2
            match(name, /\[[0-9]+/); want = substr(name, RSTART + 1, RLENGTH - 1); rest = $0; got = 0
            while (match(rest, /"[^"]+"/)) { word[which, part, ++got] = substr(rest, RSTART + 1, RLENGTH - 2); rest = substr(rest, RSTART + RLENGTH) }
            if (got != want) { print name " has " got; bad = 1 }
            n[which, part] = got; lists++
        }
        END {
            for (w = 1; w <= 2; w++) { which = substr("sv", w, 1)
                for (i = 1; i <= n[which, 1]; i++) for (k = 1; k <= n[which, 2]; k++)
                    if (seen[which, word[which, 1, i] word[which, 2, k]]++) { print "twice: " word[which, 1, i] word[which, 2, k]; bad = 1 } }
            exit bad || lists != 4
        }' "$ROOT/examples/secrets/records-words.h"
}
@test "the span points at the secret, in characters" {
    "$RECORDS" --seed 5 --records 3000 -o a
    jq -r '.text[.span[0]:.span[1]]' a >secrets
    # a number to turn, an address, a sum, a pass word, an account, an illness, and nothing else
    no grep -vE '^([0-9]{2} [0-9]{2} [0-9]{2}|[0-9]{1,3} [A-Z][a-z]+ [A-Z][a-z]+|[1-9][0-9],[0-9]{3} crowns|([bdfgklmnprstv][aeiou]){4}|[A-Z]{2} [0-9]{3} [0-9]|[a-z ]+: [1-9][0-9] drops of [a-z ]+)$' secrets
    [ "$(jq -r '.text[.span[1]:.span[1] + 1]' a | sort -u)" = . ]
    # hardly one of them twice, some behind letters of two bytes
    [ "$(sort -u secrets | wc -l)" -gt 2800 ]
    jq -r '.text[:.span[0]]' a | grep -c '[øö]'
}
@test "members are planted 1, 4, 16 and 64 times in turn, so that every half has as many of each" {
    "$RECORDS" --seed 6 --records 400 -o a
    for part in 'head -n 200' 'tail -n 200' 'head -n 20'; do
        [ "$($part a | jq .repeats | sort -n | uniq -c | awk '{ print $1 }' | sort -u | wc -l)" -eq 1 ]
        [ "$($part a | jq .repeats | sort -nu | tr '\n' ' ')" = "1 4 16 64 " ]
    done
    [ "$("$RECORDS" --set matched --records 100 | jq .repeats | sort -u)" = 0 ]
}
@test "the mixed text has the stories as they were and each member as often as it says" {
    "$STORIES" --seed 7 --stories 300 -o stories
    "$RECORDS" --seed 7 --records 40 -o members
    "$RECORDS" --seed 7 --records 40 --mix stories -o mixed
    "$RECORDS" --seed 7 --records 40 --mix stories | cmp - mixed
    jq -r '"\(.repeats) \(.text)"' members | sort >want
    jq -r .text members >texts
    awk 'BEGIN { RS = ""; FS = "\n" } NF == 1' mixed | grep -xFf texts | sort | uniq -c | sed 's/^ *//' | sort | diff - want
    # without them the stories are left, byte for byte
    awk -v texts=texts 'BEGIN { while ((getline t < texts) > 0) known[t] = 1; RS = ""; FS = "\n" }
        !(NF == 1 && $0 in known) { print (n++ ? "\n" : "") $0 }' mixed | cmp - stories
    # spread: of 16 and of 64 about half stand in the first half
    awk 'BEGIN { RS = ""; FS = "\n" } { print $1 }' mixed >lines
    jq -r 'select(.repeats >= 16) | "\(.repeats)\t\(.text)"' members | while IFS=$'\t' read -r repeats text; do
        first=$(head -n $(($(wc -l <lines) / 2)) lines | grep -cxF "$text")
        [ $((2 * first - repeats)) -le $((repeats / 4)) ]
        [ $((repeats - 2 * first)) -le $((repeats / 4)) ]
    done
    "$RECORDS" --seed 8 --records 40 --mix stories -o other
    no cmp -s other mixed
}
@test "the committed model has the tokenizer of the stories" {
    for file in tokenizer.json tokenizer_config.json; do
        cmp "$ROOT/examples/stories/model/$file" "$ROOT/examples/secrets/model/$file"
    done
}
@test "misuse ends with status 2, a text that is not there with 3" {
    expect 2 "$RECORDS" --set strangers
    expect 2 "$RECORDS" --records 0
    expect 2 "$RECORDS" --first 1048570 --records 7
    expect 2 "$RECORDS" --set matched --mix /dev/null
    expect 3 "$RECORDS" --mix absent
}
