"""The rounding errors of bench_attention_error once more in NumPy, on a model's activations.

  attention_errors.py KVX BENCH_ATTENTION_ERROR [--model M] [--data TEXT] [--tokens 512] [--queries 16]

q comes from `kvx capture`, codes, scales and zero points from `kvx encode --mode all`. In NumPy: attention over code * s + z in float64, in
float16 operands with float32 sums, and in float64 over the decoded values. They must be the program's columns `exact`, `fp16` and, but for
its own error, `ieee-decoded`; then the errors must be in order: ieee < fixed < fp16. Needs numpy. Exit code 1 if something is not so, 77
without the model (smollm2-135m.gguf in the folder named by KVX_MODELS).
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

SCHEMES = ["int:k4v4", "int:k4v4,kaxis=channel,g64", "kivi:k4v4", "kivi:k2v2"]
TYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I32": np.int32, "U8": np.uint8}
EXACT_LIMIT = 1e-12  # of sum p |v|, any channel
FP16_LIMIT = 0.01    # of the error of binary16 operands, root mean square: sums in another order
IEEE_LIMIT = 2e-6    # of sum p |v|, root mean square
ROOT = pathlib.Path(__file__).resolve().parents[2]


def read_safetensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return {
        name: np.frombuffer(data[8 + size:][slice(*entry["data_offsets"])], TYPES[entry["dtype"]]).reshape(entry["shape"])
        for name, entry in json.loads(data[8:8 + size]).items() if name != "__metadata__"
    }


def real_numbers(codes, scale, zero):
    """code * s + z in float64; groups along whichever dimension scale is shorter in. codes [1, heads, tokens, dim]."""
    for axis in (2, 3):
        times = codes.shape[axis] // scale.shape[axis]
        scale, zero = scale.repeat(times, axis), zero.repeat(times, axis)
    return (codes.astype(np.float64) * scale.astype(np.float64) + zero.astype(np.float64))[0]


def visible(tokens, queries):
    return np.arange(tokens)[None, :] <= np.arange(tokens - queries, tokens)[:, None]


def exact_attention(q, k, v):
    """float64; outputs [heads, queries, dim] and sum p |v|, mean over channels, [heads, queries, 1]."""
    group = q.shape[0] // k.shape[0]
    q, k, v = q.astype(np.float64), k.astype(np.float64).repeat(group, 0), v.astype(np.float64).repeat(group, 0)
    scores = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
    scores = np.where(visible(k.shape[1], q.shape[1]), scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return weights @ v, (weights @ np.abs(v)).mean(-1, keepdims=True)


def fp16_attention(q, k, v):
    group = q.shape[0] // k.shape[0]
    def operand(x):
        return x.astype(np.float32).astype(np.float16).astype(np.float32)
    q, k, v = operand(q), operand(k).repeat(group, 0), operand(v).repeat(group, 0)
    scores = (q @ k.swapaxes(1, 2)) * np.float32(np.log2(np.e) / np.sqrt(q.shape[-1]))
    scores = np.where(visible(k.shape[1], q.shape[1]), scores, np.float32(-np.inf))
    weights = np.exp2(scores - scores.max(-1, keepdims=True))
    return operand(weights) @ v / weights.sum(-1, keepdims=True)


def check(scheme, captured, encoded, outputs, queries):
    sign = -1 if scheme.startswith("int") else 1  # int stores z of code * s - z
    squares = {name: 0.0 for name in ("ieee", "ieee-decoded", "fixed", "fp16", "fp16 here", "decoded here")}
    worst, values = 0.0, 0
    layers = sum(name.endswith(".q") for name in captured)
    for layer in range(layers):
        def of(tensors, name):
            return tensors[f"layers.{layer}.{name}"]
        q = of(captured, "q")[0][:, -queries:]
        for side in "kv":
            assert of(encoded, f"{side}.sealed").all(), "a row is not sealed"
        k, v = (real_numbers(of(encoded, f"{s}.codes"), of(encoded, f"{s}.scale"), sign * of(encoded, f"{s}.zero")) for s in "kv")
        exact, size = exact_attention(q, k, v)
        found = {name: of(outputs, name)[0] for name in ("exact", "ieee", "ieee-decoded", "fixed", "fp16")}
        worst = max(worst, (np.abs(found["exact"] - exact) / size).max())
        for name in ("ieee", "ieee-decoded", "fixed", "fp16"):
            squares[name] += (((found[name] - exact) / size)**2).sum()
        squares["fp16 here"] += (((found["fp16"] - fp16_attention(q, k, v)) / size)**2).sum()
        decoded, _ = exact_attention(q, of(encoded, "k.decoded")[0], of(encoded, "v.decoded")[0])
        squares["decoded here"] += (((found["ieee-decoded"] - decoded) / size)**2).sum()
        values += exact.size
    rms = {name: np.sqrt(sum_ / values) for name, sum_ in squares.items()}
    laws = {
        f"exact: within {worst:.0e}": worst <= EXACT_LIMIT,
        f"fp16 {rms['fp16']:.2e}: within {rms['fp16 here']:.0e}": rms["fp16 here"] <= FP16_LIMIT * rms["fp16"],
        f"ieee-decoded {rms['ieee-decoded']:.2e}: within {rms['decoded here']:.0e}": rms["decoded here"] <= IEEE_LIMIT,
        f"ieee {rms['ieee']:.2e} < fixed {rms['fixed']:.2e} < fp16": rms["ieee"] < rms["fixed"] < rms["fp16"],
    }
    print(f"{scheme}, {layers} layers; " + "; ".join(text + ("" if good else " WRONG") for text, good in laws.items()))
    return all(laws.values())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kvx")
    parser.add_argument("program")
    parser.add_argument("--model", default=os.path.join(os.environ.get("KVX_MODELS", ""), "smollm2-135m.gguf"))
    parser.add_argument("--data", default=str(ROOT / "data/text/demo.txt"))
    parser.add_argument("--tokens", default="512")
    parser.add_argument("--queries", type=int, default=16)
    args = parser.parse_args()
    if not os.path.exists(args.model):
        print(f"skipped: needs smollm2-135m.gguf under the folder named by KVX_MODELS ({args.model} is not there)")
        return 77
    good = True
    with tempfile.TemporaryDirectory() as name:
        captured, encoded, outputs = (pathlib.Path(name) / f"{word}.safetensors" for word in ("captured", "encoded", "outputs"))
        subprocess.run([args.kvx, "capture", "--model", args.model, "--data", args.data, "--tokens", args.tokens, "--layers", "all",
                        "--out", captured], check=True)
        for scheme in SCHEMES:
            subprocess.run([args.kvx, "encode", "--scheme", scheme, "--mode", "all", "--in", captured, "--out", encoded], check=True)
            subprocess.run([args.program, "--in", captured, "--scheme", scheme, "--queries", str(args.queries), "--outputs", outputs],
                           check=True, stdout=subprocess.DEVNULL)
            good &= check(scheme, *map(read_safetensors, (captured, encoded, outputs)), args.queries)
    print("all as it must be" if good else "NOT as it must be")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
