#!/usr/bin/env bash
# mdq-lle against scikit-learn's LocallyLinearEmbedding on Gaussian tiles of 256 x 256, at equal THREADS (default 1): per
# tile, TILES of them in memory for scikit-learn (default 112, as many as the stream has that mdq-lle reads), k = 15, 2 dimensions.
# scikit-learn once with its default solver and once with the dense one; mdq-lle with and without the embedding. Processor
# time with one thread, wall-clock time with more.
set -euo pipefail
BIN=${MDQ_BIN:?run by make bench} TOOLS=${MDQ_TOOLS:?run by make bench}
python=${MDQ_INTEROP_PYTHON:-$(cd "$(dirname "$0")/.." && pwd)/build/interop-venv/bin/python}
if ! "$python" -c 'import sklearn, numpy' 2>/dev/null; then
    echo "skipped: no Python with scikit-learn (MDQ_INTEROP_PYTHON)"
    exit 0
fi
threads=${THREADS:-1}
tiles=${TILES:-112}
dir=$(mktemp -d "${MDQ_BENCH_DIR:-${TMPDIR:-/tmp}}/mdq-lle.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads

# one block of seven matrices of 1024 x 1024: 112 tiles
"$TOOLS"/tests/tools/make-model -q -o "$dir/m" --hidden 1024 --intermediate 1024 --layers 1 --heads 4 --vocab 258 --ctx 32
"$BIN"/mdq-tile -q "$dir/m" -o "$dir/t.mdq"
count=$("$BIN"/mdq-view "$dir/t.mdq" | grep -c '"t":"tile"')

seconds() { # COMMAND...: processor seconds with one thread, wall-clock seconds with more; the least of three
    local best=1e9 k t
    for k in 1 2 3; do
        if [ "$threads" = 1 ]; then
            t=$(TIMEFORMAT='%U %S'; { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ print $1 + $2 }')
        else
            t=$(TIMEFORMAT='%R'; { time "$@" >/dev/null 2>&1; } 2>&1)
        fi
        best=$(awk -v a="$t" -v b="$best" 'BEGIN { print a < b ? a : b }')
    done
    echo "$best"
}
lle=("$BIN/mdq-lle" -q -j "$threads" --permutations 0 --parallel 0 "$dir/t.mdq" --thin -o "$dir/out.mdq")
cat=("$BIN/mdq-cat" -q -j "$threads" "$dir/t.mdq" --thin -o "$dir/out.mdq")
start=$(seconds "${cat[@]}") # reading and writing a stream
plain=$(seconds "${lle[@]}" --embedding 0)
full=$(seconds "${lle[@]}")

cat >"$dir/sk.py" <<'EOP'
import sys, time, warnings
import numpy as np
from sklearn.manifold import LocallyLinearEmbedding
from sklearn.neighbors import NearestNeighbors
from sklearn.manifold._locally_linear import barycenter_kneighbors_graph
warnings.filterwarnings("ignore")
n, threads = int(sys.argv[1]), int(sys.argv[2])
clock = time.process_time if threads == 1 else time.perf_counter
x = np.random.default_rng(0).standard_normal((n, 256, 256))
def best(f):
    f(x[0])
    least = 1e9
    for _ in range(3):
        t = clock()
        for tile in x:
            f(tile)
        least = min(least, clock() - t)
    return 1e3 * least / n
def tangents(tile):
    barycenter_kneighbors_graph(tile, 15)
    index = NearestNeighbors(n_neighbors=15).fit(tile).kneighbors(return_distance=False)
    near = tile[index]
    near = near - near.mean(axis=1, keepdims=True)
    np.linalg.eigh(near @ near.transpose(0, 2, 1))
print(best(lambda t: barycenter_kneighbors_graph(t, 15)), best(tangents),
      best(lambda t: LocallyLinearEmbedding(n_neighbors=15, n_components=2, random_state=0).fit(t)),
      best(lambda t: LocallyLinearEmbedding(n_neighbors=15, n_components=2, eigen_solver="dense").fit(t)))
EOP
read -r graph tangent auto dense < <("$python" "$dir/sk.py" "$tiles" "$threads")
awk -v threads="$threads" -v count="$count" -v s="$start" -v p="$plain" -v f="$full" -v g="$graph" -v t="$tangent" -v a="$auto" -v d="$dense" '
    function row(what, ms) { printf "  %-62s %8.2f\n", what, ms }
    BEGIN {
        printf "%s thread(s), ms per tile of 256 x 256\n", threads
        row("scikit-learn: neighbours and weights", g)
        row("scikit-learn and NumPy: neighbours, weights, local PCA", t)
        row("scikit-learn: LocallyLinearEmbedding", a)
        row("scikit-learn: LocallyLinearEmbedding, dense solver", d)
        p = 1e3 * (p - s) / count; f = 1e3 * (f - s) / count; s = 1e3 * s / count
        row("mdq-cat: reading a stream, and starting", s)
        row("mdq-lle: neighbours, weights, tangents (without the row above)", p)
        row("mdq-lle: with the embedding (without the row above)", f)
        printf "\n"
        printf "  ratio, neighbours, weights, tangents to neighbours, weights, PCA: %6.1f\n", t / p
        printf "  ratio, neighbours, weights, tangents to LocallyLinearEmbedding:   %6.1f  (goal: 10)\n", a / p
        printf "  ratio, with the embedding:                                        %6.1f  (goal: 4)\n", a / f
        printf "  ratio, with the embedding, to the dense solver:                   %6.1f\n", d / f
    }'
