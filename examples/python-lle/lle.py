#!/usr/bin/env python3
"""mdq-lle on scikit-learn: a stage of a pipeline in another language.

    lle.py [OPTION...] [STREAM]      options as mdq-lle's; standard input when no STREAM is named

Reads a tile stream, adds to each tile the keys that mdq-lle adds, passes all else on byte for byte. Needs numpy, scikit-learn,
msgpack, zstandard and xxhash. The stream format is formats/mdq1.md; numbers in comments are its sections.
"""
import argparse
import os
import sys
import tempfile

import msgpack
import numpy as np
import xxhash
import zstandard
from scipy.linalg import eigh
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.manifold._locally_linear import barycenter_weights
from sklearn.neighbors import NearestNeighbors

FRAME = 1 << 20  # decoded bytes of a frame, by custom (1.3)
MOST = 1 << 30
VERSION = "0.1.0"
DTYPES = {"f64": "<f8", "f32": "<f4", "f16": "<f2", "u8": "u1", "u16": "<u2"}


class Trouble(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


# ---- the stream


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def pairs(data):
    """Of a map: {key: the bytes of key and value}, in the order they come."""
    u = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=MOST)
    u.feed(data)
    out = {}
    for _ in range(u.read_map_header()):
        first = u.tell()
        key = u.unpack()
        u.skip()
        if key in out:
            raise Trouble(1, "the key %s occurs twice in one map" % key)
        out[key] = data[first:u.tell()]
    return out


def value(pair):
    u = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=MOST)
    u.feed(pair)
    u.skip()
    return u.unpack()


def assemble(record, first):
    """A map of these pairs, those named first, the others in ascending order of their keys (4.1)."""
    rest = sorted((k for k in record if k not in first), key=lambda k: k.encode())
    head = msgpack.Packer().pack_map_header(len(record))
    return head + b"".join(record[k] for k in [k for k in first if k in record] + rest)


def objects(source):
    """(object as bytes, decoded bytes before it, hash of these) for each object of a stream."""
    reader = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
    u = msgpack.Unpacker(max_buffer_size=MOST, strict_map_key=False)
    hash128, kept, base = xxhash.xxh3_128(), b"", 0
    while True:
        try:
            part = reader.read(FRAME)
        except zstandard.ZstdError as e:
            raise Trouble(3, "input: %s" % e) from None
        if not part:
            break
        kept += part
        u.feed(part)
        while True:
            try:
                u.skip()
            except msgpack.OutOfData:
                break
            size = u.tell() - base
            data, kept = kept[:size], kept[size:]
            yield data, base, hash128.digest()
            hash128.update(data)
            base += size
    if kept:
        raise Trouble(3, "input: ends within an object")


def read(source):
    """The header, then the records as maps of bytes; the end record is checked (5)."""
    count = None
    for data, before, digest in objects(source):
        fields = pairs(data)
        if count is None:
            if "magic" not in fields or value(fields["magic"]) != "mdq" or value(fields["major"]) != 1 or value(fields["require"]):
                raise Trouble(1, "input: is no mdq stream that this program knows")
            count = 0
        elif count < 0:
            raise Trouble(1, "input: something follows the end record")
        elif value(fields["t"]) == "end":
            if (value(fields["count"]), value(fields["bytes"]), value(fields["hash"])) != (count, before, digest):
                raise Trouble(1, "input: the end record does not fit what came before")
            count = -1
            continue
        else:
            count += 1
        yield fields
    if count is None or count >= 0:
        raise Trouble(3, "input: ends without its end record")


class Writer:
    def __init__(self, out):
        self.out, self.hash, self.count, self.bytes, self.held = out, xxhash.xxh3_128(), 0, 0, b""
        self.packer = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=True)

    def flush(self):
        if self.held:
            self.out.write(self.packer.compress(self.held))
        self.held = b""

    def put(self, data, alone=False):
        if alone or len(self.held) + len(data) > FRAME:
            self.flush()
        self.held += data
        self.hash.update(data)
        self.bytes += len(data)
        if alone:
            self.flush()

    def header(self, data):
        self.put(data, alone=True)

    def record(self, fields):
        fields["n"] = pack("n") + pack(self.count)
        self.put(assemble(fields, ["t", "id", "n"]))
        self.count += 1

    def finish(self):
        end = {"t": "end", "count": self.count, "bytes": self.bytes, "hash": self.hash.digest()}
        self.put(pack(end), alone=True)
        self.out.flush()


def array(a):
    """The numpy array of a map {dtype, shape, enc, data} (2.3)."""
    data, count = a["data"], int(np.prod(a["shape"], dtype=np.int64))
    wide = a["dtype"] == "bf16"
    kind = np.dtype("<u2" if wide else DTYPES[a["dtype"]])
    if len(data) != count * kind.itemsize:
        raise Trouble(1, "an array is not as long as its shape says")
    if a["enc"] == "planes":
        data = np.frombuffer(data, "u1").reshape(kind.itemsize, count).T.tobytes()
    v = np.frombuffer(data, kind)
    if wide:
        v = (v.astype("<u4") << 16).view("<f4")
    return v.reshape(a["shape"])


def packed_array(v, dtype):
    return {"dtype": dtype, "shape": list(v.shape), "enc": "raw", "data": np.ascontiguousarray(v, DTYPES[dtype]).tobytes()}


def with_provenance(header, args):
    """The header with an entry of ours, whose parents are all chain ends (3.4)."""
    chain = value(header["prov"])
    parents = {p for e in chain for p in e["prev"]}
    ids, name, n = [e["id"] for e in chain], "lle.py", 0
    while name in ids:
        n += 1
        name = "lle.py.%d" % n
    entry = {"id": name, "prog": "lle.py", "version": VERSION, "args": args, "prev": [i for i in ids if i not in parents]}
    return dict(header, prov=pack("prov") + pack(chain + [entry]))


# ---- the method


def neighbours(x, k):
    """k nearest other rows, by rising distance, equal ones by index."""
    near = NearestNeighbors(n_neighbors=min(k + 8, len(x) - 1), algorithm="brute").fit(x)
    index = near.kneighbors(return_distance=False)
    exact = ((x[index] - x[:, None, :]) ** 2).sum(axis=2)
    order = np.lexsort((index, exact))[:, :k]
    return np.take_along_axis(index, order, 1), np.take_along_axis(exact, order, 1)


def reconstruct(x, k, reg):
    index, distance = neighbours(x, k)
    weights = barycenter_weights(x, x, index, reg=reg)
    residual = ((x - np.einsum("ia,iad->id", weights, x[index])) ** 2).sum(axis=1)
    return index, distance, weights, residual


def embedding(index, weights, m):
    n = len(index)
    w = np.eye(n)
    np.subtract.at(w, (np.arange(n)[:, None], index), weights)
    y = eigh(w.T @ w, subset_by_index=(1, m))[1]
    return y * np.where(np.take_along_axis(y, np.abs(y).argmax(axis=0)[None], 0) < 0, -1, 1)


def tangent(x, index, variance):
    dim, normal = np.zeros(len(x), int), np.zeros(len(x))
    for i, own in enumerate(index):
        mean = x[own].mean(axis=0)
        s, v = np.linalg.svd(x[own] - mean, full_matrices=False)[1:]
        share = s ** 2
        total, off = share.sum(), x[i] - mean
        if total > 1e-14 * (off @ off):
            share = share[share > 1e-12 * total]
            dim[i] = min((np.cumsum(share) < variance * share.sum() - 1e-12 * total).sum() + 1, len(share)) if variance > 0 else 0
        u = v[:dim[i]]
        normal[i] = np.linalg.norm(off - (off @ u.T) @ u)
    return dim, normal


def tile(w, o, name):
    """The keys for the tile w [rows, columns]."""
    x = w.astype(float)
    n, k, m = len(x), min(o.neighbours, len(x) - 1), min(o.embedding, len(x) - 1)
    summary = {"k": k, "reg": o.reg, "variance": o.variance, "residual": 0.0, "null_residual": 0.0, "dim95": 0.0,
               "dim_parallel": 0, "components": 1, "duplicates": 0, "normal_ratio": 0.0, "manifold": False}
    index, weights, residual = np.zeros((n, k), int), np.zeros((n, k)), np.zeros(n)
    dim, normal, y = np.zeros(n, int), np.zeros(n), np.zeros((n, m))
    if k > 0:
        centred = x - x.mean(axis=0)
        squares = (centred ** 2).sum() or np.inf
        index, distance, weights, residual = reconstruct(x, k, o.reg)
        dim, normal = tangent(x, index, o.variance)
        if m > 0:
            y = embedding(index, weights, m)
        nulls, largest = [], 0.0
        random = np.random.default_rng([o.seed, *name.encode()])
        for c in range(max(o.permutations, o.parallel)):
            copy = random.permuted(x, axis=0)
            if c < o.permutations:
                nulls.append(reconstruct(copy, k, o.reg)[3].sum() / squares)
            if c < o.parallel:
                largest = max(largest, np.linalg.norm(copy - copy.mean(axis=0), 2) ** 2)
        length = np.linalg.norm(x, axis=1)
        graph = csr_matrix((np.ones(n * k), index.ravel(), np.arange(n + 1) * k), shape=(n, n))
        summary.update(
            residual=float(residual.sum() / squares), null_residual=float(np.mean(nulls)) if nulls else 0.0,
            dim95=float(dim.mean()), components=int(connected_components(graph, directed=False)[0]),
            dim_parallel=int((np.linalg.svd(centred, compute_uv=False) ** 2 > largest).sum()) if o.parallel else 0,
            duplicates=int(((distance[:, 0] == 0) & (index[:, 0] < np.arange(n))).sum()),
            normal_ratio=float(np.median(normal[length > 0] / length[length > 0])) if length.any() else 0.0)
        summary["manifold"] = bool(nulls and summary["residual"] < 0.9 * min(nulls))
    keys = {"lle": summary, "lle_neighbours": packed_array(index, "u16"), "lle_weights": packed_array(weights, "f32"),
            "lle_residual": packed_array(residual, "f32"), "tangent_dim": packed_array(dim, "u8"),
            "tangent_normal": packed_array(normal, "f32")}
    if o.embedding > 0:
        keys["lle_embedding"] = packed_array(y, "f32")
    return keys


def run(o, source, out):
    stream = read(source)
    header = next(stream)
    if "tile" not in value(header["kinds"]):
        raise Trouble(1, "input: holds no tiles")
    args = {k: getattr(o, k) for k in ("embedding", "neighbours", "parallel", "permutations", "reg", "seed", "variance")}
    if not o.no_pg:
        header = with_provenance(header, args)
    w = Writer(out)
    w.header(assemble(header, list(header)))
    tiles = []
    for fields in stream:
        own = {}
        if value(fields["t"]) == "tile":
            identity = value(fields["id"])
            if "w" not in fields or "lle" in fields:
                raise Trouble(1, "%s: tile %s, %s: has no weights, or neighbours already" % tuple(identity))
            keys = tile(array(value(fields["w"])), o, "%s %d %d" % tuple(identity))
            own = {k: pack(k) + pack(v) for k, v in keys.items()}
            tiles.append(keys["lle"])
        kept = {k: fields[k] for k in ("t", "id", "n")} if o.thin else fields
        w.record({**kept, **own})
    w.finish()
    if not o.quiet and tiles:
        mean = lambda key: np.mean([t[key] for t in tiles])
        print("lle.py: %d tiles: residual %.4f, null %.4f, evidence of a manifold in %.1f %% of tiles; dimension %.1f" % (
            len(tiles), mean("residual"), mean("null_residual"), 100 * mean("manifold"), mean("dim95")), file=sys.stderr)


def main():
    p = argparse.ArgumentParser(prog="lle.py", description="mdq-lle on scikit-learn", allow_abbrev=False)
    p.add_argument("stream", nargs="?", default="-")
    p.add_argument("-o", "--output", default="-")
    p.add_argument("-k", "--neighbours", type=int, default=15)
    p.add_argument("--reg", type=float, default=1e-3)
    p.add_argument("--variance", type=float, default=0.95)
    p.add_argument("--embedding", type=int, default=2)
    p.add_argument("--permutations", type=int, default=3)
    p.add_argument("--parallel", type=int, default=3)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--thin", action="store_true", help="write identities and own keys only")
    p.add_argument("--no-pg", action="store_true", help="add no provenance entry")
    p.add_argument("-q", "--quiet", action="store_true")
    for ignored in ("-v", "-vv", "--verbose", "--progress"):
        p.add_argument(ignored, action="store_true", dest="ignored", help=argparse.SUPPRESS)
    p.add_argument("-j", "--jobs", "--level", dest="ignored", help="ignored")
    p.add_argument("--version", action="version", version="lle.py (mdq) " + VERSION)
    o = p.parse_args()
    if not 1 <= o.neighbours <= 64:
        p.error("--neighbours: from 1 to 64")
    source = sys.stdin.buffer if o.stream == "-" else open(o.stream, "rb")
    if o.output == "-":
        return run(o, source, sys.stdout.buffer)
    # a file takes its final name only when it is complete
    part, name = tempfile.mkstemp(prefix=os.path.basename(o.output) + ".part-", dir=os.path.dirname(o.output) or ".")
    try:
        with os.fdopen(part, "wb") as out:
            run(o, source, out)
            os.fsync(out.fileno())
        os.chmod(name, 0o644)
        os.rename(name, o.output)
    except BaseException:
        os.unlink(name)
        raise


if __name__ == "__main__":
    try:
        main()
    except Trouble as e:
        print("lle.py: %s" % e, file=sys.stderr)
        sys.exit(e.status)
    except OSError as e:
        print("lle.py: %s" % e, file=sys.stderr)
        sys.exit(3)
