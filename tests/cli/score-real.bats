# mdq-score on a model that memorised some of 256 members, and on the same model before it did.
# build: plain
load ../helpers

setup() { cd "$BATS_TEST_TMPDIR"; }
real() { # MODEL: with the same texts
    local from=$DATA/models/planted260k dir=$DATA/models/$1
    mdq-calib -q -j1 --gradients --model "$dir" --text "$DATA/text/tinystories-calib.txt" --tokens 32768 --gradient-tokens 16384 \
        --sensitive "$from/members.jsonl" --matched "$from/nonmembers.jsonl" -o real.stats
    mdq-tile -q "$dir" -o real.t
    mdq-score -q -j1 --model "$dir" --stats real.stats --sensitive "$from/members.jsonl" --matched "$from/nonmembers.jsonl" \
        --valid "$DATA/text/tinystories-eval.txt" --valid-tokens 8192 --resamples 200 --controls 0 --functional-cap 0 --thin --report real.txt -o real.s real.t
    mdq-view real.s | jq -c 'select(.t == "probe") | .probe' >real.probes
}

@test "a model that memorised has a sensitive set, and moving it hides the members" {
    need_data
    real planted260k
    jq -se '.[0].auc[1] > 0.85 and (map(select(.passed)) | last | .auc[0] < 0.75 and .h_sens[1] > 0 and .perplexity_rise_share[0] <= 0.01)' real.probes
    grep -q 'The sensitive set: the first' real.txt
}
@test "the same model before it memorised has none" {
    need_data
    real stories260k
    grep -q 'No evidence of memorisation: the model does not prefer the members' real.txt
    mdq-view --stats real.s | jq -se '[.[] | select(.t == "tile") | .label.max] | max == 0' >/dev/null
}
