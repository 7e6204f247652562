#!/usr/bin/env python3
"""Exports read by safetensors and dequantized by NumPy, from the layouts alone: layouts.py DIR...

Each DIR holds `source`, the model folder, and exports of one set of codes: `dense` (f32) and any of `gptq`, `gptq_v2`,
`ct`. TAP on standard output.
"""
import json
import os
import sys

import numpy as np
from safetensors import safe_open

done = failed = 0


def result(ok, title, detail=""):
    global done, failed
    done += 1
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {done} - {title}{' (' + detail + ')' if detail else ''}", flush=True)


def raw(folder):
    """name -> (dtype, shape, bytes), out of the container's own layout (NumPy has no bfloat16)."""
    out = {}
    files = sorted(f for f in os.listdir(folder) if f.endswith(".safetensors"))
    for f in files:
        data = open(os.path.join(folder, f), "rb").read()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        assert header.pop("__metadata__") == {"format": "pt"}
        at = 0
        for name, t in header.items():
            begin, end = t["data_offsets"]
            assert begin == at, f"{name}: a gap"
            width = {"F32": 4, "I32": 4, "I64": 8, "F64": 8, "F16": 2, "BF16": 2}.get(t["dtype"], 1)
            assert begin % width == 0, f"{name}: not aligned"
            at = end
            assert name not in out, f"{name}: twice"
            out[name] = (t["dtype"], tuple(t["shape"]), data[8 + length + begin : 8 + length + end])
        assert 8 + length + at == len(data), f"{f}: bytes behind the last tensor"
        with safe_open(os.path.join(folder, f), "np") as st:
            assert set(st.keys()) == set(header)
            for name, t in header.items():
                assert st.get_slice(name).get_shape() == t["shape"]
                if t["dtype"] != "BF16":
                    assert st.get_tensor(name).tobytes() == out[name][2]
    if len(files) > 1:
        index = json.load(open(os.path.join(folder, "model.safetensors.index.json")))
        assert set(index["weight_map"]) == set(out)
    return out


def array(t):
    dtype, shape, data = t
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2", "I32": "<u4", "I64": "<i8", "F64": "<f8"}[dtype]).reshape(shape)


def codes(words, bits, count):
    """Lines of 32-bit words [lines, words] to [lines, count] codes: one little-endian bit stream per line."""
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1), axis=1, bitorder="little")
    field = stream[:, : count * bits].reshape(len(words), count, bits).astype(np.int32)
    return (field << np.arange(bits, dtype=np.int32)).sum(axis=2)


def dequantize_gptq(t, module, config):
    bits, v1 = config["bits"], config["checkpoint_format"] == "gptq"
    idx, scales = array(t[module + ".g_idx"]).astype(int), array(t[module + ".scales"])
    inputs, outputs = len(idx), scales.shape[1]
    q = codes(array(t[module + ".qweight"]).T, bits, inputs)  # [out, in]
    zero = codes(array(t[module + ".qzeros"]), bits, outputs) + v1  # [groups, out]
    return scales.astype(np.float32).T[:, idx] * (q - zero.T[:, idx]).astype(np.float32)


def dequantize_compressed(t, module, config):
    outputs, inputs = array(t[module + ".weight_shape"])
    scale = array(t[module + ".weight_scale"]).astype(np.float32)
    groups = [g for g in config["config_groups"].values() if module in g["targets"]] or [
        g for g in config["config_groups"].values() if g["targets"] == ["Linear"]
    ]
    args = groups[0]["weights"]
    bits, half = args["num_bits"], 1 << (args["num_bits"] - 1)
    assert scale.shape[1] == (inputs // args["group_size"] if args["strategy"] == "group" else 1)
    q = codes(array(t[module + ".weight_packed"]), bits, inputs) - half
    zero = np.zeros(scale.shape, np.int32)
    if not args["symmetric"]:
        zero = codes(array(t[module + ".weight_zero_point"]).T, bits, outputs).T - half
    per = inputs // scale.shape[1]
    return np.repeat(scale, per, axis=1) * (q - np.repeat(zero, per, axis=1)).astype(np.float32)


def check(case):
    source = raw(os.path.join(case, "source"))
    dense = raw(os.path.join(case, "dense"))
    title = os.path.basename(case)
    same = all(dense[n][0:2] == ("F32", t[1]) if n not in dense or dense[n] != t else True for n, t in source.items())
    result(set(source) == set(dense) and same, f"{title}: the dense export has the source's tensors")
    kinds = {"gptq": (".qweight", dequantize_gptq), "gptq_v2": (".qweight", dequantize_gptq),
             "ct": (".weight_packed", dequantize_compressed)}
    for name, (suffix, dequantize) in kinds.items():
        folder = os.path.join(case, name)
        if not os.path.isdir(folder):
            continue
        t = raw(folder)
        config = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
        if name != "ct":
            assert config == json.load(open(os.path.join(folder, "quantize_config.json")))
        modules = [n[: -len(suffix)] for n in t if n.endswith(suffix)]
        wrong = [m for m in modules if not np.array_equal(dequantize(t, m, config), array(dense[m + ".weight"]))]
        result(modules and not wrong, f"{title}: {name}: {len(modules)} layers give the dense export's weights, bit for bit",
               " ".join(wrong[:3]))
        rest = {n: v for n, v in source.items() if n[: -len(".weight")] not in modules}
        result(all(t.get(n) == v for n, v in rest.items()) and all(n in rest or n.rsplit(".", 1)[0] in modules for n in t),
               f"{title}: {name}: the other {len(rest)} tensors are the source's, byte for byte")


for argument in sys.argv[1:]:
    check(argument)
print(f"1..{done}")
sys.exit(failed > 0)
