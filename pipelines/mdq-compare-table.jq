# mdq-compare-table.jq: compare.json as text.

def fix($n): if . == null then "-" else
    (. < 0) as $minus | (fabs * pow(10; $n) | round | tostring) as $d
    | ("0" * ([$n + 1 - ($d | length), 0] | max) // "") + $d
    | (if $minus and test("[1-9]") then "-" else "" end) + (if $n == 0 then . else .[:length - $n] + "." + .[length - $n:] end) end;
def left($n): . + (" " * ([$n - length, 0] | max) // "");
def right($n): (" " * ([$n - length, 0] | max) // "") + .;
def signed($n): if . == null then "-" else fix($n) | if startswith("-") then . else "+" + . end end;
def times($k): if . == null then null else . * $k end;
# value (low to high), all times $k, with $n decimals
def interval($v; $ci; $k; $n): if $v == null then "-" else ($v * $k | fix($n)) +
    (if $ci == null or $ci[0] == null then "" else " (" + ($ci[0] * $k | fix($n)) + " to " + ($ci[1] * $k | fix($n)) + ")" end) end;
def change($v; $ci; $k; $n): if $v == null then "-" else ($v * $k | signed($n)) +
    (if $ci == null or $ci[0] == null then "" else " (" + ($ci[0] * $k | signed($n)) + " to " + ($ci[1] * $k | signed($n)) + ")" end) end;
def line: (.[0] | left(40)) + (.[1:] | map(right(28)) | join("")) | sub(" +$"; "");
def row($title; f): [$title, (.models | .full, .plain, .selective | f)] | line;
# plain against full, selective against full: where $to is plain, the selective model against that
def against($title; $to; f): [$title, "",
    (if $to == "plain" then "" else .differences.plain_to_full | f end), (.differences["selective_to_" + $to] | f)] | line;
def said_set: {given: "members given to mdq-score", not_given: "members not given to it"}[.] // .;
def name: {loss: "loss", zlib: "zlib", min_k: "min-k %", min_k_pp: "min-k++ %", reference: "reference model", best: "best"}[.] // .;
def order: ["loss", "zlib", "min_k", "min_k_pp", "reference"] + (. - ["loss", "zlib", "min_k", "min_k_pp", "reference", "best"]) + ["best"];

def attack_rows($set): . as $top | .models.selective.attacks[$set] as $all | ($all | keys) as $there
    | "", (($set | said_set) + ": \($all.best.members // "?"), against \($all.best.nonmembers // "?") others"),
    (($there | order)[] | select(. as $a | $there | index([$a]) != null) as $a | $top
     | row("  " + ($a | name) + ": AUC"; .attacks[$set][$a] | interval(.auc; .auc_ci95; 1; 3)),
       row("    advantage"; .attacks[$set][$a] | interval(.advantage; .advantage_ci95; 1; 3)),
       row("    true positives at 1 and 0.1 % false"; .attacks[$set][$a] | "\(.tpr_at_1_fpr | times(100) | fix(1)) and \(."tpr_at_0.1_fpr" | times(100) | fix(1)) %")),
    row("  advantage of the best by chance alone"; .attacks[$set].best.chance | fix(3)),
    against("  best against plain, % of it"; "plain"; .attacks[$set].best | change(.relative; .relative_ci95; 100; 0)),
    against("  best against full precision, % of it"; "full"; .attacks[$set].best | change(.relative; .relative_ci95; 100; 0));

def verdict: if .met == null then "not known" elif .met and .shown == true then "met, interval too" elif .met then "met, interval not"
    elif .shown == false then "missed" else "missed" end;
def percent_of: if .aim | test("points$") then ["points", 100, 2] else ["%", 100, 1] end;
def aim_rows: map(percent_of as [$unit, $k, $n]
    | "  " + ((.aim | sub(", (relative|points)$"; "") | sub("not_given"; "not given")) + " against " + (.against | sub("full"; "full precision")) | left(52))
      + ("at most " + (.limit * $k | signed(0)) + " " + $unit | left(20)) + (change(.value; .ci95; $k; $n) | left(30)) + verdict) | .[];

def requantized_rows: . as $top | if (.requantized | length) == 0 then empty else
    "", "Does it last? Both models made into something else; best advantage of the attacks",
    (["", "perplexity: plain", "selective"] | line),
    (.requantized[] | . as $f |
        (["  " + ({rtn8: "8 bits, rounding, groups of 128", rtn4: "4 bits, rounding, groups of 128", gptq3: "3 bits, GPTQ, groups of 128",
           "compressed-tensors": "compressed-tensors"}[.format] // .format), (.plain.perplexity.value | fix(4)), (.selective.perplexity.value | fix(4))] | line),
        ((.selective.attacks // {} | keys[]) as $set | ("best", ("reference" | select($f.selective.attacks[$set].reference != null))) as $a
         | ["    " + ($set | said_set | sub(" to mdq-score| to it"; "")) + ", " + ($a | name) + (if $a == "best" then " attack" else "" end),
            ($f.plain.attacks[$set][$a] | interval(.advantage; .advantage_ci95; 1; 3)),
            ($f.selective.attacks[$set][$a] | interval(.advantage; .advantage_ci95; 1; 3)),
            ($f.selective_to_plain.attacks[$set][$a] | change(.relative; .relative_ci95; 100; 0) + " %")] | line)) end;

. as $top | .settings as $s
| "\($s.bits) bits, groups of \($s.group), \(if $s.sym == 1 then "symmetric" else "with zero points" end), \($s.method), \($s.export); privacy preference \($s.lambda)",
  "", ([ "", "full precision", "plain", "selective"] | line),
  row("size, MB"; .bytes | times(1e-6) | fix(3)),
  row("seconds to make it"; .seconds | fix(1)),
  row("perplexity"; .perplexity | interval(.value; .ci95; 1; 4)),
  against("  over that of plain, less 1, %"; "plain"; .perplexity_ratio | change(.value | if . then . - 1 else null end; .ci95 | if . then map(. - 1) else null end; 100; 2)),
  against("  over full precision, less 1, %"; "full"; .perplexity_ratio | change(.value | if . then . - 1 else null end; .ci95 | if . then map(. - 1) else null end; 100; 2)),
  (if .models.full.accuracy then
    row("accuracy, %"; .accuracy | interval(.value; .ci95; 100; 1)),
    (.models.full.tasks // [] | range(length)) as $i | row("  " + .models.full.tasks[$i].tasks; .tasks[$i] | interval(.value; .ci95; 100; 1))
   else empty end),
  (if .models.full.accuracy then
    against("  less that of plain, points"; "plain"; .accuracy | change(.value; .ci95; 100; 2)),
    against("  less full precision, points"; "full"; .accuracy | change(.value; .ci95; 100; 2)) else empty end),
  ((.models.selective.attacks // {} | keys[]) as $set | attack_rows($set)),
  "", "what the members given hold",
  row("  exposure, bits (most \(.models.full.exposure.max | fix(1)), chance \(.models.full.exposure.chance | fix(1)))"; .exposure | interval(.value; .ci95; 1; 2)),
  against("    less that of plain"; "plain"; .exposure | change(.value; .ci95; 1; 2)),
  ((.models.full.extraction | keys[]) as $i | (.models.full.extraction[$i]) as $e
    | row("  extracted, \($e.kind), \($e.prefix) prefix, %"; .extraction[$i] | interval(.value; .ci95; 100; 1))),
  (if .constraints == {} then empty else "", "points held by the selective model: " +
    (.constraints | to_entries | map("\(.key) \(.value.met) of \(.value.points)" + (if .value.missed > 0 then " (\(.value.missed) missed)" else "" end)) | join(", ")) end),
  "", "Aims (the least)", (.aims | aim_rows), "Goals", (.goals | aim_rows),
  requantized_rows,
  (if (.notes | length) == 0 then empty else "", (.notes[] | "Note: " + .) end),
  "", "In brackets: 95 % intervals. Advantage: 2 |AUC - 1/2|. Changes are paired: the same texts, resampled together."
