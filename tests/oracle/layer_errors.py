"""Task `error` once more in NumPy, of schemes int:kNvN: the four relative errors of every layer.

  layer_errors.py KVX MODEL TEXT [--tokens 1024] [--bits 2 4 8]

q, k and v of the first tokens come from `kvx capture`; rows of a head and token are quantised as ref/int.md says, attention is
computed in binary64, and the errors are compared with those that `kvx eval --task error` records, whose attention is binary32. Needs
numpy. Exit code 1 if one differs by more than 1e-4 of itself.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

LIMIT = 1e-4
WEIGHT_QUERIES = 64  # eval/error.md


def read_safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    types = {"F32": np.float32, "I32": np.int32}
    return {
        name: np.frombuffer(data[8 + size:][slice(*entry["data_offsets"])], types[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in header.items() if name != "__metadata__"
    }


def quantised(x, bits):
    """x [heads, tokens, dim]; groups of a whole row."""
    top = np.float32(2**bits - 1)
    x = x.astype(np.float16).astype(np.float32)
    low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    scale = (np.maximum(high - low, np.float32(1e-5)) / top).astype(np.float16).astype(np.float32)
    zero = (-low).astype(np.float16).astype(np.float32)
    codes = np.clip(np.rint((x + zero) / scale), 0, top)
    return (codes * scale - zero).astype(np.float16).astype(np.float32)


def attention(q, k, v):
    """Weights [heads, tokens, tokens] and outputs [heads, tokens, dim]."""
    group, tokens = q.shape[0] // k.shape[0], q.shape[1]
    q, k, v = q.astype(np.float64), k.astype(np.float64).repeat(group, 0), v.astype(np.float64).repeat(group, 0)
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    scores[:, np.triu(np.ones((tokens, tokens), bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return weights, weights @ v


def ratio(found, exact):
    found, exact = found.astype(np.float64), exact.astype(np.float64)
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def errors(q, k, v, bits):
    k_hat, v_hat = quantised(k, bits), quantised(v, bits)
    weights, out = attention(q, k, v)
    weights_hat, out_hat = attention(q, k_hat, v_hat)
    last = slice(-WEIGHT_QUERIES, None)
    return {
        "k": ratio(k_hat, k),
        "v": ratio(v_hat, v),
        "weights": ratio(weights_hat[:, last], weights[:, last]),
        "out": ratio(out_hat, out),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kvx")
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--tokens", default="1024")
    parser.add_argument("--bits", nargs="+", default=["2", "4", "8"])
    args = parser.parse_args()
    inputs = ["--model", args.model, "--data", args.text]
    schemes = [word for bits in args.bits for word in ("--scheme", f"int:k{bits}v{bits}")]
    with tempfile.TemporaryDirectory() as name:
        tensor_file, run = pathlib.Path(name) / "a.safetensors", pathlib.Path(name) / "run"
        subprocess.run([args.kvx, "capture", *inputs, "--layers", "all", "--tokens", args.tokens, "--out", tensor_file], check=True)
        subprocess.run([args.kvx, "eval", "--task", "error", *inputs, *schemes, "--length", args.tokens, "--out", run, "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)
        tensors = read_safetensors(tensor_file)
        units = {unit["scheme"]: unit for unit in map(json.loads, (run / "results.jsonl").read_text().splitlines())}
    worst = 0.0
    for bits in args.bits:
        layers = units[f"int@1:k{bits}v{bits}"]["layers"]
        largest = 0.0
        for layer, recorded in enumerate(layers):
            again = errors(*(tensors[f"layers.{layer}.{name}"][0] for name in "qkv"), int(bits))
            largest = max([largest, *(abs(recorded[name]["value"] / again[name] - 1) for name in again)])
        print(f"int:k{bits}v{bits}, {len(layers)} layers, {args.tokens} tokens: largest difference {largest:.1e} of a value")
        worst = max(worst, largest)
    print(f"limit {LIMIT:.0e}: {'equal within it' if worst <= LIMIT else 'DIFFERENT'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
