# The example's stories: made again from their seed, and rich enough to be worth learning.
load ../helpers

setup() {
    cd "$BATS_TEST_TMPDIR"
    STORIES=$TOOLS/examples/stories/make-stories
}

one_a_line() {
    awk 'BEGIN { RS = "" } { gsub(/\n/, " "); print }' "$@"
}

@test "the same seed gives the same stories, another one others" {
    "$STORIES" --seed 1 --stories 200 -o a
    "$STORIES" --seed 1 --stories 200 -o b
    "$STORIES" --seed 2 --stories 200 -o c
    cmp a b
    one_a_line a c | sort | uniq -d | diff - /dev/null
}
@test "a longer text begins with the shorter one" {
    "$STORIES" --seed 1 --stories 50 -o a
    "$STORIES" --seed 1 --stories 90 -o b
    "$STORIES" --seed 1 --skip 50 --stories 40 -o c
    { cat a; echo; cat c; } | cmp - b
    "$STORIES" --seed 1 --bytes 10000 -o d
    head -c "$(stat -c %s d)" b | cmp - d
    [ "$(stat -c %s d)" -ge 10000 ]
}
@test "the stories use more than 400 words" {
    "$STORIES" --seed 3 --bytes 1000000 -o a
    [ "$(tr -cs 'A-Za-z' '\n' <a | tr A-Z a-z | sort -u | wc -l)" -gt 700 ]
}
@test "hardly a story is told twice" {
    "$STORIES" --seed 3 --stories 2000 -o a
    [ "$(one_a_line a | wc -l)" -eq 2000 ]
    one_a_line a | sort | uniq -d | diff - /dev/null
}
@test "nothing of the templates is left in the text" {
    "$STORIES" --seed 4 --bytes 2000000 -o a
    ! grep -nP '[][{}|*+@\x01\x02]|  | [.,;!?]|\b(an? an?|the the)\b|\ba [aeio](?!ne)|\ban [^aeioh]' a
    # sentences begin with a capital letter, articles fit
    ! grep -nP '(^|[a-z][.!?] )[a-z]' a
}
@test "what was counted adds up" {
    "$STORIES" --seed 5 --stories 3000 -o a
    awk 'BEGIN {
            split("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen " \
                  "eighteen nineteen twenty", w, " ")
            for (i in w) number[w[i]] = i
            RS = ""
        }
        match($0, /thinks?: |thought: /) {
            split(substr($0, RSTART + RLENGTH, 200), p, /[ ,;]+/)
            # N fruit, G for NAME, L here; the thief must have taken S.
            n = number[p[1]]; for (i = 1; i in p; i++) { if (p[i] == "for") g = number[p[i - 1]]; if (p[i] == "here") l = number[p[i - 1]]
                if (p[i] == "taken") { sub(/\..*/, "", p[i + 1]); s = number[p[i + 1]]; break } }
            if (n != g + l + s) { print; bad = 1 }
            seen++
        }
        END { exit bad || seen < 50 }' a
}
@test "pairs: the same seed the same, good and bad differ, all kinds in turn" {
    "$STORIES" --seed 9 --pairs 1100 -o a
    "$STORIES" --seed 9 --pairs 1100 | cmp - a
    "$STORIES" --seed 9 --skip 500 --pairs 600 | cmp - <(tail -n 600 a)
    [ "$(jq -r 'select(.sentence_good == .sentence_bad) | .kind' a | wc -l)" -eq 0 ]
    [ "$(jq -r .kind a | sort | uniq -c | awk '{ print $1 }' | sort -u)" = 100 ]
    jq -r .sentence_good a >good
    run grep -nP '[][{}|*+@\x01\x02]|  | [.,;!?]|\b(an? an?|the the)\b|\ba [aeio](?!ne)|\ban [^aeioh]|(^|[a-z][.!?] )[a-z]' good
    [ "$status" -eq 1 ]
    # the bad ones are bad in what their kind says, and in nothing else
    [ "$(jq -r 'select(.kind == "article") | .sentence_bad' a | grep -cP '\ba [aeiou]|\ban [^aeiou]')" -eq 100 ]
    jq -r 'select(.kind == "verb") | .sentence_good, .sentence_bad' a | sed -E 's/ (is|are|was|were)([ ,])/ _\2/g' | uniq -c |
        awk '$1 != 2 { bad = 1 } END { exit bad || NR != 100 }'
    jq -r 'select(.kind == "pronoun") | .sentence_good, .sentence_bad' a | sed -E 's/ (it|them) / _ /g' | uniq -c |
        awk '$1 != 2 { bad = 1 } END { exit bad || NR != 100 }'
}
@test "the tokenizer of the example has exactly 1024 tokens" {
    jq -e '.model.vocab | length == 1024' "$ROOT/examples/stories/model/tokenizer.json"
    jq -e '.vocab_size == 1024' "$ROOT/examples/stories/model/config.json"
}
@test "misuse ends with status 2" {
    expect 2 "$STORIES" --stories 0
    expect 2 "$STORIES" --stories many
    expect 2 "$STORIES" --pairs 0
}
