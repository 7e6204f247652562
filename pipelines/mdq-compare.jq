# mdq-compare.jq: the lines of mdq-compare, which say what they are about, as the one object of compare.json.
# docs/pipelines.md has its layout.

def said: del(.metric, .model, .against, .set, .format);
def one(f): map(select(f) | said) | first;
def ci($z): if .stderr == null then . else .ci95 //= [.value - $z * .stderr, .value + $z * .stderr] end;
def by_attack: map({(.attack): (said | del(.attack))}) | add;
def by_set(f): map(select(f)) | group_by(.set) | map({(.[0].set): by_attack}) | add;

# What is said of one model by itself, out of the first lines that say it.
def model($m): map(select(.model == $m and .format == null and .repeats == null)) |
    (map(select(.metric == "accuracy" or .metric == "task_accuracy" or .metric == "exposure" or .metric == "extraction" or .metric == "perplexity"
        or .metric == "mia")) | (map(.against) | first) as $a | map(select(.against == $a))) as $l |
    {bytes: one(.metric == "bytes").value, seconds: one(.metric == "seconds").value,
     perplexity: ($l | one(.metric == "perplexity") | ci(1.96)),
     accuracy: ($l | one(.metric == "accuracy")), tasks: ($l | map(select(.metric == "task_accuracy") | said | .tasks |= sub(".*/"; ""))),
     attacks: ($l | by_set(.metric == "mia")),
     exposure: ($l | one(.metric == "exposure")), extraction: ($l | map(select(.metric == "extraction") | said))};
def difference($m; $a; $f): map(select(.model == $m and .against == $a and .format == $f and .repeats == null)) |
    {perplexity_ratio: (one(.metric == "perplexity_ratio") | ci(1.96)), accuracy: one(.metric == "accuracy_difference"),
     attacks: by_set(.metric == "mia_difference"), exposure: one(.metric == "exposure_difference"),
     extraction: map(select(.metric == "extraction_difference") | said)};
def format($f): map(select(.format == $f)) |
    {format: $f,
     plain: {perplexity: (map(select(.metric == "perplexity_ratio")) | first | {value: .reference_perplexity}),
             attacks: (map(select(.model == "plain")) | by_set(.metric == "mia"))},
     selective: {perplexity: (one(.metric == "perplexity") | ci(1.96)),
                 attacks: (map(select(.model == "selective")) | by_set(.metric == "mia"))},
     selective_to_plain: (map(.format = null) | difference("selective"; "plain"; null) | {perplexity_ratio, attacks})};

# An aim: a value that should be at most the limit. Shown: the whole interval is.
def aim($aim; $against; $limit; $value; $ci):
    {aim: $aim, against: $against, limit: $limit, value: $value, ci95: $ci,
     met: (if $value == null then null else $value <= $limit end),
     shown: (if $value == null or $ci == null or $ci[1] == null then null else $ci[1] <= $limit end)};
# A difference of accuracy as a loss, in units of `of`.
def loss($d; $of): if $d == null or $of == null or $of == 0 then [null, null]
    else [-$d.value / $of, (if $d.ci95 == null or $d.ci95[0] == null then null else [-$d.ci95[1] / $of, -$d.ci95[0] / $of] end)] end;
def aims:
    .models as $m | .differences as $d |
    ({plain: "selective_to_plain", full: "selective_to_full"} | to_entries[]) as {key: $a, value: $to} |
    (loss($d[$to].accuracy; $m[$a].accuracy.value) as [$v, $ci] | aim("accuracy loss, relative"; $a; 0.03; $v; $ci)),
    (($d[$to].attacks // {} | keys[]) as $set | $d[$to].attacks[$set].best as $b |
     aim("best advantage, " + $set + ", relative"; $a; -0.15; $b.relative; $b.relative_ci95));
def goals:
    .differences.selective_to_plain as $d |
    aim("perplexity, relative"; "plain"; 0.01; ($d.perplexity_ratio.value | if . then . - 1 else null end);
        ($d.perplexity_ratio.ci95 | if . then map(. - 1) else null end)),
    (loss($d.accuracy; 1) as [$v, $ci] | aim("accuracy loss, points"; "plain"; 0.01; $v; $ci)),
    aim("best advantage, given, relative"; "plain"; -0.7; $d.attacks.given.best.relative; $d.attacks.given.best.relative_ci95),
    (if $d.attacks.not_given then
        aim("best advantage, not_given, relative"; "plain"; -0.5; $d.attacks.not_given.best.relative; $d.attacks.not_given.best.relative_ci95)
     else empty end);

{format: "mdq-compare", version: 1, key: $key, settings: $settings,
 models: {full: model("full"), plain: model("plain"), selective: model("selective")},
 differences: {plain_to_full: difference("plain"; "full"; null), selective_to_full: difference("selective"; "full"; null),
               selective_to_plain: difference("selective"; "plain"; null)},
 constraints: (map(select(.metric == "constraints")) | first | .value // {}),
 requantized: (. as $l | [.[] | .format // empty] | reduce .[] as $f ([]; if index([$f]) then . else . + [$f] end) | map(. as $f | $l | format($f))),
 notes: map(select(.metric == "note") | .note)}
| .aims = [aims] | .goals = [goals]
