#!/usr/bin/env python3
"""mdq-eval choice, mia and canary against NumPy: eval_numpy.py WORK MODEL REFERENCE [FOLDER]

MODEL and REFERENCE are folders that make-model made (Llama, one token per byte), WORK is where files go. Token losses, z of Min-K%++,
accuracies and greedy extractions come from a forward pass of our own in float64; attacks, AUC, TPR, exposure and their means are
computed again from the losses that --scores writes, to 1e-6. FOLDER: a model with members.jsonl and nonmembers.jsonl, of which
the second half is done too. TAP on standard output.
"""
import json
import math
import os
import random
import subprocess
import sys
import zlib

import numpy as np
from safetensors.numpy import load_file

work, model_dir, reference_dir = sys.argv[1:4]
done = failed = 0


def check(title, worst, bound):
    global done, failed
    done += 1
    good = worst <= bound
    failed += not good
    print("%sok %d - %s: %.2g (at most %g)" % ("" if good else "not ", done, title, worst, bound), flush=True)


def run(*args):
    out = subprocess.run(["mdq-eval", "-q", *args], check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in out.splitlines()]


def lines(path):
    with open(path, "rb") as f:
        return [json.loads(line) for line in f]


def write(name, records):
    path = os.path.join(work, name)
    with open(path, "w") as f:
        f.writelines(json.dumps(r) + "\n" for r in records)
    return path


# ---- a Llama in NumPy

class Llama:
    def __init__(self, folder):
        with open(os.path.join(folder, "config.json")) as f:
            self.c = json.load(f)
        self.w = {k: v.astype(np.float64) for k, v in load_file(os.path.join(folder, "model.safetensors")).items()}

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.c["rms_norm_eps"]) * self.w[name]

    def logits(self, ids):
        c, w, n = self.c, self.w, len(ids)
        heads, kv, dim = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        angle = np.outer(np.arange(n), c["rope_theta"] ** (-np.arange(0, dim, 2) / dim))
        cos, sin = np.cos(np.r_["1", angle, angle]), np.sin(np.r_["1", angle, angle])

        def rotate(x):
            return x * cos + np.r_["2", -x[:, :, dim // 2:], x[:, :, :dim // 2]] * sin

        x = w["model.embed_tokens.weight"][ids]
        for layer in range(c["num_hidden_layers"]):
            p = "model.layers.%d." % layer
            h = self.norm(x, p + "input_layernorm.weight")
            q, k, v = ((h @ w[p + "self_attn.%s_proj.weight" % s].T).reshape(n, -1, dim).transpose(1, 0, 2) for s in "qkv")
            q, k, v = rotate(q), np.repeat(rotate(k), heads // kv, 0), np.repeat(v, heads // kv, 0)
            a = q @ k.transpose(0, 2, 1) / math.sqrt(dim)
            a = np.where(np.tri(n, dtype=bool), a, -np.inf)
            a = np.exp(a - a.max(-1, keepdims=True))
            o = (a / a.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(n, -1)
            x = x + o @ w[p + "self_attn.o_proj.weight"].T
            h = self.norm(x, p + "post_attention_layernorm.weight")
            gate = h @ w[p + "mlp.gate_proj.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        return self.norm(x, "model.norm.weight") @ w["lm_head.weight"].T

    def log_p(self, ids):
        l = self.logits(ids)
        l = l - l.max(-1, keepdims=True)
        return l - np.log(np.exp(l).sum(-1, keepdims=True))


def tokens(text):
    return [256] + list(text.encode())  # <s>, and a token per byte


def scored(llama, text):
    """Losses and z of tokens 2 to T."""
    ids = tokens(text)
    l = llama.log_p(ids)[:-1]
    p = np.exp(l)
    mu = (p * l).sum(-1)
    sigma = np.sqrt((p * l * l).sum(-1) - mu * mu)
    at = l[np.arange(len(l)), ids[1:]]
    return -at, (at - mu) / sigma


# ---- statistics, as slowly and plainly as they are defined

def auc_of(members, others):
    m, n = np.asarray(members)[:, None], np.asarray(others)[None, :]
    return ((m < n) + 0.5 * (m == n)).mean()


def tpr_of(members, others, bound):
    best = 0.0
    for t in np.r_[-np.inf, np.unique(np.r_[members, others])]:
        if (others <= t).mean() < bound:
            best = max(best, (members <= t).mean())
    return best


def mean_of_smallest(v, share):
    v = np.sort(v)
    return -v[:max(1, int(len(v) * share))].mean()


def attacks_of(r, text, share):
    losses, z = np.array(r["losses"]), np.array(r["z"])
    a = {"loss": losses.mean(), "zlib": losses.mean() / len(zlib.compress(text.encode())),
         "min_k": mean_of_smallest(-losses, share), "min_k_pp": mean_of_smallest(z, share)}
    if "reference_loss" in r:
        a["reference"] = losses.mean() - r["reference_loss"]
    return a


def compare_mia(name, folder, sets, share, *options):
    """Runs mia and recomputes everything from the losses that it wrote; returns the scores of every attack."""
    out = os.path.join(work, name + ".scores")
    got = run("mia", "--model", folder, "--members", sets["members"][0], "--nonmembers", sets["nonmembers"][0], "--scores", out,
              "--min-k", str(share), *options)
    found = lines(out)
    scores, worst = {}, 0.0
    for r in found:
        text = sets[r["set"]][1][r["record"] - 1]["text"]
        for attack, value in attacks_of(r, text, share).items():
            worst = max(worst, abs(value - r[attack]) / max(abs(value), 1e-3))
            scores.setdefault(attack, {"members": [], "nonmembers": []})[r["set"]].append(value)
    check(name + ": scores of %d attacks from the token losses, relative" % len(scores), worst, 1e-6)
    plain = {r["attack"]: r for r in got if r["metric"] == "mia" and "repeats" not in r}
    worst = 0.0
    for attack, s in scores.items():
        m, n = np.array(s["members"]), np.array(s["nonmembers"])
        r, auc = plain[attack], auc_of(m, n)
        worst = max(worst, abs(r["auc"] - auc), abs(r["advantage"] - 2 * abs(auc - 0.5)), abs(r["tpr_at_1_fpr"] - tpr_of(m, n, 0.01)),
                    abs(r["tpr_at_0.1_fpr"] - tpr_of(m, n, 0.001)))
    check(name + ": AUC, advantage, TPR at 1 % and 0.1 % FPR", worst, 1e-6)
    best = max(scores, key=lambda a: plain[a]["advantage"])
    check(name + ": the best attack", abs(plain["best"]["advantage"] - plain[best]["advantage"]) + (plain["best"]["of"] != best), 1e-9)
    # other random numbers than the program's: only about the same
    rng, draws, chance = np.random.default_rng(1), [], []
    m, n = np.array(scores["loss"]["members"]), np.array(scores["loss"]["nonmembers"])
    for _ in range(1000):
        draws.append(auc_of(rng.choice(m, len(m)), rng.choice(n, len(n))))
    low, high = np.quantile(draws, [0.025, 0.975])
    check(name + ": interval of the loss attack's AUC against a bootstrap of our own", max(abs(low - plain["loss"]["auc_ci95"][0]),
                                                                                           abs(high - plain["loss"]["auc_ci95"][1])), 0.02)
    pool = [np.r_[s["members"], s["nonmembers"]] for s in scores.values()]
    for _ in range(1000):
        order = rng.permutation(len(pool[0]))
        chance.append(max(2 * abs(auc_of(v[order[:len(m)]], v[order[len(m):]]) - 0.5) for v in pool))
    check(name + ": what chance gives the best attack", abs(np.mean(chance) - plain["best"]["chance"]), 0.01)
    worst = 0.0
    for r in got:
        if r["metric"] == "mia" and "repeats" in r:
            some = [v for v, x in zip(scores["loss"]["members"], sets["members"][1]) if x.get("repeats") == r["repeats"]]
            worst = max(worst, abs(auc_of(some, n) - r["auc"]), abs(len(some) - r["members"]))
    check(name + ": AUC by repeats", worst, 1e-6)
    return got, found, {a: 2 * abs(auc_of(s["members"], s["nonmembers"]) - 0.5) for a, s in scores.items()}


def compare_canary(name, folder, sets, *options):
    out = os.path.join(work, name + ".canary")
    got = run("canary", "--model", folder, "--members", sets["members"][0], "--nonmembers", sets["nonmembers"][0], "--scores", out, *options)
    found, worst = lines(out), 0.0
    for r in found:
        others = np.array(r["fill_losses"])
        rank = 1 + (others < r["loss"]).sum() + 0.5 * (others == r["loss"]).sum()
        worst = max(worst, abs(rank - r["rank"]), abs(math.log2(len(others) + 1) - math.log2(rank) - r["exposure"]),
                    abs(len(others) + 1 - r["candidates"]))
    check(name + ": rank and exposure of %d records" % len(found), worst, 1e-6)
    worst = 0.0
    for line in got:
        some = [r for r in found if r["set"] == line.get("set", "members") and ("repeats" not in line or r.get("repeats") == line["repeats"])]
        if line["metric"] == "exposure":
            sizes = [r["candidates"] for r in some]
            want = {"value": np.mean([r["exposure"] for r in some]), "max": np.mean(np.log2(sizes)),
                    "chance": np.mean([np.mean(np.log2(n) - np.log2(np.arange(1, n + 1))) for n in sizes])}
        else:
            least = 1 if line["kind"] == "exact" else 0.75
            full = line["prefix"] == "full"
            want = {"value": np.mean([(r["similarity"] if full else max(r["similarity_perturbed"])) >= least for r in some])}
        worst = max([worst, abs(line["n"] - len(some))] + [abs(line[k] - v) for k, v in want.items()])
    check(name + ": means of exposure, what chance gives, rates of extraction", worst, 1e-6)
    return got, found


# ---- a model of one token per byte: everything from the text on

random.seed(5)
llama, second = Llama(model_dir), Llama(reference_dir)


def record(i):
    text = "%s has %d %s. The code is %06d%s." % (random.choice(["Ada", "Bo", "Cleo"]), random.randrange(99),
                                                  random.choice(["cats", "green hats", "keys"]), random.randrange(10**6),
                                                  random.choice(["", " here", " or so"]))
    at = text.index("code is ") + 8
    return {"text": text, "span": [at, at + 6], "repeats": 4 ** (i % 3)}


sets = {}
for s in ("members", "nonmembers"):
    records = [record(i) for i in range(40 if s == "members" else 30)]
    if s == "nonmembers":
        for r in records:
            del r["repeats"]
    sets[s] = (write(s + ".jsonl", records), records)

got, found, advantages = compare_mia("byte model", model_dir, sets, 0.3, "--reference", reference_dir)
losses = z = reference = 0.0
for r in found:
    text = sets[r["set"]][1][r["record"] - 1]["text"]
    mine, mine_z = scored(llama, text)
    losses = max(losses, np.abs(mine - r["losses"]).max())
    z = max(z, np.abs(mine_z - r["z"]).max())
    reference = max(reference, abs(scored(second, text)[0].mean() - r["reference_loss"]))
check("byte model: token losses against the forward pass in NumPy", losses, 1e-3)
check("byte model: z of Min-K%++ against the forward pass in NumPy", z, 1e-3)
check("byte model: losses of the reference model", reference, 1e-4)

got, _, mine = compare_mia("against another", model_dir, sets, 0.2, "--against", reference_dir)
_, _, theirs = compare_mia("the other", reference_dir, sets, 0.2)
worst = 0.0
for r in got:
    if r["metric"] == "mia_difference":
        a, b = (max(x.values()) if r["attack"] == "best" else x[r["attack"]] for x in (mine, theirs))
        worst = max(worst, abs(r["advantage"] - (a - b)), abs(r["relative"] - (a - b) / b))
check("differences of advantages, absolute and relative", worst, 1e-6)

_, found = compare_canary("byte model", model_dir, sets, "--fills", "40", "--decode", "5")
losses = similar = 0.0
for r in found[:12]:
    x = sets[r["set"]][1][r["record"] - 1]
    losses = max(losses, abs(scored(llama, x["text"])[0].sum() - r["loss"]))
    ids = tokens(x["text"])
    start = 1 + x["span"][0]
    said = ids[:start]
    for _ in range(5):
        said.append(int(llama.logits(said)[-1].argmax()))
    # six digits, of which five are asked for: Levenshtein of five tokens each
    d = np.arange(6)
    for a in said[start:]:
        new = [d[0] + 1]
        for j, b in enumerate(ids[start:start + 5]):
            new.append(min(d[j] + (a != b), d[j + 1] + 1, new[j] + 1))
        d = np.array(new)
    similar = max(similar, abs(1 - d[-1] / 5 - r["similarity"]))
check("byte model: total losses of records", losses, 1e-2)
check("byte model: what greedy decoding says", similar, 1e-9)

items = []
for i in range(30):
    r = record(i)["text"]
    if i % 2:
        items.append({"query": r, "choices": [random.choice(["Yes", "No", "He does", "She has 5"]) + "." for _ in range(2 + i % 3)],
                      "gold": i % 2})
    else:
        items.append({"sentence_good": r, "sentence_bad": r.replace(" is ", " are ")})
right = []
for x in items:
    if "query" in x:
        sums = [scored(llama, x["query"] + " " + c)[0][len(x["query"].encode()):].sum() for c in x["choices"]]
        gold = x["gold"]
    else:
        sums, gold = [scored(llama, x[k])[0].sum() for k in ("sentence_good", "sentence_bad")], 0
    good = [abs(s - sums[gold]) < 1e-6 for s in sums]
    right.append(0 if min(sums) < sums[gold] - 1e-6 else 1 / sum(good))
got = run("choice", "--model", model_dir, "--tasks", write("tasks.jsonl", items))
check("accuracy at multiple choice and minimal pairs", abs(got[0]["value"] - np.mean(right)) + abs(got[0]["n"] - 30), 1e-8)
check("its standard error", abs(got[0]["stderr"] - np.std(right, ddof=1) / math.sqrt(30)), 1e-8)

# ---- a real model, from the losses that the program wrote

if len(sys.argv) > 4:
    folder = sys.argv[4]
    real = {}
    for s in ("members", "nonmembers"):
        path = os.path.join(folder, s + ".jsonl")
        real[s] = (path, lines(path))
    got, _, _ = compare_mia("planted260k", folder, real, 0.2)
    check("planted260k: the loss attack finds members (0.9 - AUC)", 0.9 - got[0]["auc"], 0)
    for s in ("members", "nonmembers"):
        digits = []
        for x in real[s][1][:24]:
            at = next(i for i in range(len(x["text"])) if x["text"][i:i + 8].isdigit())
            digits.append({"text": x["text"], "span": [at, at + 8]})
        real[s] = (write("digits-" + s, digits), digits)
    got, _ = compare_canary("planted260k", folder, real, "--fills", "63")
    exposure = {x.get("set", "members"): x for x in got if x["metric"] == "exposure"}
    check("planted260k: members are exposed (3 - bits)", 3 - exposure["members"]["value"], 0)
    check("planted260k: non-members are at chance", abs(exposure["nonmembers"]["value"] - exposure["nonmembers"]["chance"]), 1)

print("1..%d" % done)
sys.exit(failed > 0)
