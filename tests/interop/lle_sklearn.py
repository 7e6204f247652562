#!/usr/bin/env python3
"""mdq-lle against scikit-learn: lle_sklearn.py TILES RESULT [TILES RESULT...]

TILES is a tile stream, RESULT what mdq-lle made of it. Of each tile: neighbours are those of NearestNeighbors but for distances
within 1e-6 of each other; weights are those of barycenter_weights to 1e-5 of the row's largest; the embedding spans what
LocallyLinearEmbedding (standard, dense) finds, to 1e-3 rad, where the neighbour graph is connected and the relative eigengap
after it is above 1e-6; tangent dimensions and normals are those of an SVD. Then examples/python-lle/lle.py on TILES: the same keys, the same
values but for what permuted copies decide, its stream accepted by mdq-check. TAP on standard output.
"""
import io
import os
import subprocess
import sys

import numpy as np

example = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples", "python-lle", "lle.py")
sys.path.insert(0, os.path.dirname(example))

import lle  # the independent reader of streams, and the method in NumPy
from scipy.linalg import subspace_angles
from sklearn.manifold import LocallyLinearEmbedding
from sklearn.manifold._locally_linear import barycenter_weights
from sklearn.neighbors import NearestNeighbors

done = failed = 0


def check(title, worst, bound, note=""):
    global done, failed
    done += 1
    good = worst <= bound
    failed += not good
    print("%sok %d - %s: %.2g (at most %g)%s" % ("" if good else "not ", done, title, worst, bound, note), flush=True)


def tiles(path):
    out = {}
    with open(path, "rb") as f:
        stream = lle.read(f)
        next(stream)
        for r in stream:
            if lle.value(r["t"]) == "tile":
                out[tuple(lle.value(r["id"]))] = {k: lle.value(v) for k, v in r.items()}
    return out


def compare(name, before, after):
    given, found = tiles(before), tiles(after)
    assert given.keys() == found.keys() and given
    wrong = weights = angle = normal = dims = 0
    connected = 0
    for key, r in found.items():
        x = lle.array(given[key]["w"]).astype(float)
        index, own = lle.array(r["lle_neighbours"]).astype(int), lle.array(r["lle_weights"])
        k, m = index.shape[1], lle.array(r["lle_embedding"]).shape[1]
        if k == 0:
            continue
        assert all(len(set(row)) == k and i not in row for i, row in enumerate(index))
        distance, theirs = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x).kneighbors()
        mine = np.sqrt(((x[index] - x[:, None]) ** 2).sum(axis=2))
        differ = (theirs != index) & (np.abs(mine - distance) > 1e-6 * np.maximum(distance, 1e-300))
        wrong += int(differ.sum())
        b = barycenter_weights(x, x, index, reg=r["lle"]["reg"])
        weights = max(weights, float((np.abs(own - b).max(axis=1) / np.abs(b).max(axis=1)).max()))
        dim, off = lle.tangent(x, index, r["lle"]["variance"])
        dims += int((dim != lle.array(r["tangent_dim"])).sum())
        normal = max(normal, float(np.abs(off - lle.array(r["tangent_normal"])).max() / (np.linalg.norm(x, axis=1).max() or 1)))
        w = np.eye(len(x))
        np.subtract.at(w, (np.arange(len(x))[:, None], index), b)
        value = np.linalg.eigvalsh(w.T @ w)
        if m < 2 or r["lle"]["components"] > 1 or len(x) <= m + 1 or value[m + 1] - value[m] <= 1e-6 * value[-1]:
            continue
        if (theirs != index).any():
            continue  # a tie taken otherwise makes another graph
        y = LocallyLinearEmbedding(n_neighbors=k, n_components=m, reg=r["lle"]["reg"], eigen_solver="dense").fit_transform(x)
        angle = max(angle, float(subspace_angles(y, lle.array(r["lle_embedding"]).astype(float)).max()))
        connected += 1
    n = len(found)
    check("%s: neighbours that differ from scikit-learn's, in %d tiles" % (name, n), wrong, 0)
    check("%s: relative error of weights" % name, weights, 1e-5)
    check("%s: angle between embeddings in rad" % name, angle, 1e-3, ", %d tiles" % connected)
    check("%s: tangent dimensions that differ" % name, dims, 0)
    check("%s: error of normals, relative to the largest row" % name, normal, 1e-6)
    return found


def the_example(name, before, found):
    out = before + ".py"
    subprocess.run([sys.executable, example, "-q", "-j", "2", "-o", out, before], check=True, env=dict(os.environ, OMP_NUM_THREADS="1"))
    status = subprocess.run(["mdq-check", "-q", out]).returncode
    check("%s: lle.py's stream passes mdq-check (status)" % name, status, 0)
    theirs = tiles(out)
    strange = worst = 0
    for key, r in found.items():
        t = theirs[key]
        strange += t.keys() != r.keys() or t["lle"].keys() != r["lle"].keys()
        for k in r:
            if isinstance(r[k], dict) and "dtype" in r[k]:
                a, b = lle.array(r[k]), lle.array(t[k])
                strange += a.dtype != b.dtype or a.shape != b.shape
                if k != "lle_embedding":
                    worst = max(worst, float((np.abs(a.astype(float) - b).max() if a.size else 0) / (np.abs(a).max() if a.any() else 1)))
        for k in ("residual", "dim95", "components", "duplicates", "k", "normal_ratio"):
            worst = max(worst, abs(t["lle"][k] - r["lle"][k]) / (abs(r["lle"][k]) or 1))
    check("%s: keys and shapes of lle.py that differ" % name, strange, 0)
    check("%s: relative difference of lle.py's values" % name, worst, 1e-5)
    piped = subprocess.run([sys.executable, example, "-q", "--thin", "--no-pg"], check=True, stdin=open(before, "rb"), stdout=subprocess.PIPE).stdout
    stream = lle.read(io.BytesIO(piped))
    next(stream)
    check("%s: weights in lle.py's thin stream" % name, sum("w" in r for r in stream), 0)


for at in range(1, len(sys.argv), 2):
    title = os.path.basename(sys.argv[at]).split(".")[0]
    try:
        result = compare(title, sys.argv[at], sys.argv[at + 1])
        if at == 1:
            the_example(title, sys.argv[at], result)
    except Exception as e:
        done, failed = done + 1, failed + 1
        print("not ok %d - %s: %s: %s" % (done, title, type(e).__name__, e))
print("1..%d" % done)
sys.exit(failed > 0)
