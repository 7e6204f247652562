"""An independent reader of mdq streams, from the specification: standard library and the zstd program only.

    decode.py STREAM EXPECTED     compares the stream with EXPECTED.header and EXPECTED.jsonl (mdq-view --stats)

Numbers computed from arrays are compared to 1e-6 relative, all else exactly.
"""
import json
import math
import struct
import subprocess
import sys


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise ValueError("cut short")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.take(struct.calcsize(form)))[0]

    def value(self):
        c = self.number("B")
        if c < 0x80:
            return c
        if c < 0x90:
            return self.map(c & 15)
        if c < 0xA0:
            return [self.value() for _ in range(c & 15)]
        if c < 0xC0:
            return self.take(c & 31).decode()
        if c >= 0xE0:
            return c - 256
        if c in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[c]
        if c in (0xC4, 0xC5, 0xC6):
            return self.take(self.number("BHI"[c - 0xC4]))
        if c in (0xC7, 0xC8, 0xC9):
            n = self.number("BHI"[c - 0xC7])
            return {"$ext": [self.number("b"), len(self.take(n))]}
        if c in (0xCA, 0xCB):
            f = self.number("fd"[c - 0xCA])
            if math.isnan(f):
                return {"$float": "nan"}
            return float("%.9g" % f) if c == 0xCA and float("%.6g" % f) != f else f
        if 0xCC <= c <= 0xD3:
            return self.number("BHIQbhiq"[c - 0xCC])
        if 0xD4 <= c <= 0xD8:
            return {"$ext": [self.number("b"), len(self.take(1 << (c - 0xD4)))]}
        if c in (0xD9, 0xDA, 0xDB):
            return self.take(self.number("BHI"[c - 0xD9])).decode()
        if c in (0xDC, 0xDD):
            return [self.value() for _ in range(self.number("HI"[c - 0xDC]))]
        if c in (0xDE, 0xDF):
            return self.map(self.number("HI"[c - 0xDE]))
        raise ValueError("byte %x" % c)

    def map(self, n):
        pairs = [(self.value(), self.value()) for _ in range(n)]
        assert len(dict(pairs)) == n, "duplicate key"
        return dict(pairs)


def elements(a):
    count = math.prod(a["shape"])
    bits = {"u2": 2, "u3": 3, "u4": 4}.get(a["dtype"])
    data = a["data"]
    if bits:
        assert len(data) == (count * bits + 7) // 8 and a["enc"] == "raw"
        stream = int.from_bytes(data, "little")
        return [stream >> (i * bits) & ((1 << bits) - 1) for i in range(count)]
    form = {"f64": "d", "f32": "f", "f16": "e", "bf16": "H", "bool": "B"}.get(a["dtype"])
    form = form or {"8": "B", "16": "H", "32": "I", "64": "Q"}[a["dtype"][1:]]
    form = form.lower() if a["dtype"][0] == "i" else form
    size = struct.calcsize(form)
    assert len(data) == count * size
    if a["enc"] == "planes":
        data = bytes(data[k * count + i] for i in range(count) for k in range(size))
    values = struct.unpack("<%d%s" % (count, form), data)
    if a["dtype"] == "bf16":
        values = struct.unpack("<%df" % count, b"".join(struct.pack("<I", v << 16) for v in values))
    return values


def summary(v, stats):
    """What mdq-view shows of a value."""
    if isinstance(v, (bytes, bytearray)):
        return {"$bin": len(v)}
    if isinstance(v, dict) and {"dtype", "shape", "data"} <= v.keys():
        out = {k: summary(x, stats) for k, x in v.items() if k not in ("data", "enc") and (not stats or k in ("dtype", "shape"))}
        values = elements(v)
        if stats and values:
            out.update(min=min(values), max=max(values), mean=math.fsum(values) / len(values))
        return out
    if isinstance(v, dict):
        return {k: summary(x, stats and k == "") for k, x in v.items()}
    if isinstance(v, list):
        return [summary(x, False) for x in v]
    return v


def same(a, b):
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) or isinstance(b, float):
        return isinstance(a, (int, float)) and isinstance(b, (int, float)) and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-300)
    return type(a) is type(b) and a == b


def main(stream, expected):
    data = subprocess.run(["zstd", "-dc", stream], check=True, stdout=subprocess.PIPE).stdout
    r = Reader(data)
    header = r.value()
    records = []
    while True:
        before = r.at
        record = r.value()
        if record["t"] == "end":
            break
        records.append(record)
    assert r.at == len(data) and record["count"] == len(records) and record["bytes"] == before and len(record["hash"]) == 16
    want = json.load(open(expected + ".header"))
    assert same(summary(header, False), want), "header"
    lines = [json.loads(x) for x in open(expected + ".jsonl")]
    assert "totals" in lines.pop() and len(lines) == len(records)
    for got, want in zip(records, lines):
        shown = {k: summary(v, True) for k, v in got.items()}
        assert same(shown, want), "%s\n%s\n%s" % (got["id"], shown, want)
    print("%s: the header and %d records are as expected" % (stream, len(records)))


main(sys.argv[1], sys.argv[2])
