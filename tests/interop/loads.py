#!/usr/bin/env python3
"""Exports loaded by transformers: loads.py SECONDS DIR..., each DIR as in layouts.py.

The logits of every export are compared with those of the dense one, in float32; the difference is stated as a part of the
largest logit. Tolerances: 1e-5 where the loader works in float32 (only the order of sums may differ); 2e-2 where it
computes weights or products in float16, 1e-1 in bfloat16 (the GPTQ loader, and compressed-tensors with dequantize=True;
the models are random and magnify that; a wrong code or zero point makes a difference of about 1). The latter is how
asymmetric folders are loaded: without it, compressed-tensors 0.20 expects zero points unpacked, in folders that it wrote
itself as well. There its own decompressor must also give the dense export's weights exactly. What is not reached within SECONDS is
skipped. TAP on standard output.
"""
import json
import os
import sys
import time
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # the GPTQ loader would compile for minutes
os.environ["CUDA_VISIBLE_DEVICES"] = ""
warnings.filterwarnings("ignore")

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig, GPTQConfig
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
torch.manual_seed(0)
FLOAT32, F16, BF16 = 1e-5, 2e-2, 1e-1
tap = os.fdopen(os.dup(1), "w")  # libraries print on standard output
os.dup2(2, 1)
done = failed = 0
end = time.monotonic() + float(sys.argv[1])


def say(line):
    print(line, file=tap, flush=True)


def logits(folder, ids, overlay=None, **options):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options).eval()
    if overlay:
        model.load_state_dict({n: v.float() for n, v in overlay.items()}, strict=False)
    with torch.no_grad():
        return model(ids).logits.float()


def tensors(folder):
    out = {}
    for f in sorted(os.listdir(folder)):
        if f.endswith(".safetensors"):
            with safe_open(os.path.join(folder, f), "pt") as st:
                out.update({k: st.get_tensor(k) for k in st.keys()})
    return out


def decompressed(folder, dense):
    """Modules whose weights, by the library's decompressor in float32, are not those of the dense export."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme

    config = json.load(open(os.path.join(folder, "config.json")))["quantization_config"]
    scheme = QuantizationScheme(**config["config_groups"]["group_0"])
    compressor = BaseCompressor.get_value_from_registry("pack-quantized")
    t, want, wrong = tensors(folder), tensors(dense), []
    for module in [n[: -len(".weight_packed")] for n in t if n.endswith(".weight_packed")]:
        state = {n[len(module) + 1 :]: v for n, v in t.items() if n.startswith(module + ".weight")}
        state["weight_scale"] = state["weight_scale"].float()
        if not torch.equal(compressor.decompress(state, scheme)["weight"], want[module + ".weight"]):
            wrong.append(module)
    return wrong


def gptq_loader():
    try:
        import gptqmodel  # noqa: F401
        import optimum  # noqa: F401

        return None
    except Exception as e:  # whatever keeps it from being imported is a reason to skip
        return f"no GPTQ loader: {type(e).__name__}"


def compare(case, name, ids, kept):
    """(ok, what was found); with `kept`, layers in full precision replace those of the dense export."""
    folder, options, tolerance = os.path.join(case, name), {}, FLOAT32
    config = AutoConfig.from_pretrained(folder).quantization_config
    if name != "ct":
        options, tolerance = {"quantization_config": GPTQConfig(bits=config["bits"], backend="torch")}, F16
    elif not next(iter(config["config_groups"].values()))["weights"]["symmetric"]:
        wrong = decompressed(folder, os.path.join(case, "dense"))
        if wrong:
            return False, f"decompressed weights differ: {wrong[0]}"
        options, tolerance = {"quantization_config": CompressedTensorsConfig(dequantize=True)}, BF16 if "bf16" in case else F16
    overlay = {n: v for n, v in tensors(folder).items() if n.endswith("_proj.weight")} if kept else None
    want = logits(os.path.join(case, "dense"), ids, overlay)
    apart = ((logits(folder, ids, **options) - want).abs().max() / want.abs().max()).item()
    return apart <= tolerance, f"largest difference {apart:.1e}, allowed {tolerance:.0e}"


missing = gptq_loader()
for name in ("ct", "gptq", "gptq_v2"):
    for case in sys.argv[2:]:
        if not os.path.isdir(os.path.join(case, name)):
            continue
        done += 1
        line = f"{done} - {os.path.basename(case)}: transformers loads {name} and gives the dense export's logits"
        why = missing if name != "ct" and missing else "no time left" if time.monotonic() > end else None
        if why:
            say(f"ok {line} # SKIP {why}")
            continue
        try:
            ids = torch.randint(3, AutoConfig.from_pretrained(os.path.join(case, "source")).vocab_size, (2, 48))
            report = json.load(open(os.path.join(case, name, "mdq-report.json")))
            ok, found = compare(case, name, ids, bool(report["kept"]))
        except Exception as e:
            ok, found = False, f"{type(e).__name__}: {e}".replace("\n", " ")[:300]
        failed += not ok
        say(f"{'ok' if ok else 'not ok'} {line} ({found})")
say(f"1..{done}")
sys.exit(failed > 0)
