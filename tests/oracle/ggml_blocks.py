#!/usr/bin/env python3
"""Compares the ggml reference with the Python package gguf (gguf.quants), block by block, bytes and decoded values.

gguf.quants is the format's own implementation in NumPy. It differs from the reference encoders, and so from ref/ggml.md, in the
sign of a stored zero, and in nothing else:
  * q4_0, q5_0: in a block of zeros it divides the first of them by -8 or -16, where the reference encoder divides +0 (its
    maximum starts there and a zero is not larger): d is -0 whatever the signs;
  * q4_1, q5_1: of several zeros as minimum NumPy's reduction may return either sign; the reference encoder keeps the first.
These signs are checked against the rule instead. Everything else must be equal.

usage: ggml_blocks.py TOOL [--blocks N] [--seed S]     (TOOL: the built ggml_blocks)
Exit status: 0 equal, 1 different, 77 without NumPy or gguf.
"""

import argparse
import subprocess
import sys

try:
    import numpy as np
    from gguf import GGMLQuantizationType, quants
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

BLOCK = 32
BATCH = 1024  # the tool's; its last batch is filled up
TYPES = ["q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
STEPS = {"q8_0": 254, "q5_1": 31, "q5_0": 32, "q4_1": 15, "q4_0": 16}


def random_blocks(rng, n, steps):
    """Name and [n, 32] fp16 bit patterns, all finite, of every kind of block."""
    shape = (n, BLOCK)

    def finite(s):
        bits = rng.integers(0, 1 << 16, s, dtype=np.uint16)
        return np.where((bits & 0x7C00) == 0x7C00, bits & 0xBFFF, bits).astype(np.uint16)

    def f16(x):
        return np.asarray(x, np.float64).clip(-65504, 65504).astype(np.float16).view(np.uint16)

    def nudged(bits):
        step = rng.integers(-1, 2, shape) * (rng.random(shape) < 0.3)
        moved = (bits.astype(np.int32) + step).clip(0, 0xFFFF).astype(np.uint16)
        return np.where((moved & 0x7C00) != 0x7C00, moved, bits)

    one = np.arange(BLOCK) == rng.integers(0, BLOCK, (n, 1))
    yield "any finite pattern", finite(shape)
    yield "one binade", (finite(shape) & 0x83FF) | (rng.integers(0, 31, (n, 1), dtype=np.uint16) << 10)
    yield "subnormal", finite(shape) & 0x83FF
    yield "a few least subnormals", finite(shape) & 0x801F
    yield "signed zeros", finite(shape) & 0x8000
    yield "signed zeros and one value", np.where(one, finite(shape), finite(shape) & 0x8000)
    yield "signed zeros and values of one sign", np.where(
        rng.random(shape) < 0.5, (finite(shape) & 0x7FFF) | (finite((n, 1)) & 0x8000), finite(shape) & 0x8000)
    yield "constant", np.repeat(finite((n, 1)), BLOCK, axis=1)
    yield "constant but for one", np.where(one, finite(shape), finite((n, 1)))
    yield "one magnitude, both signs", (finite((n, 1)) & 0x7FFF) | (finite(shape) & 0x8000)
    yield "two values", np.where(rng.integers(0, 2, shape) == 1, finite((n, 1)), finite((n, 1)))
    yield "neighbouring patterns", (finite((n, 1)) & 0x7BE0) + rng.integers(0, 32, shape, dtype=np.uint16)
    yield "normal", f16(rng.standard_normal(shape) * np.exp2(rng.integers(-20, 12, (n, 1))))
    yield "normal with a bias", f16(rng.standard_normal(shape) + 30 * rng.standard_normal((n, 1)))
    # Multiples of half a step of the quantizer, and one pattern to either side of them: around zero, and off it.
    scale = np.exp2(rng.integers(-14, 6, (n, 1)).astype(float)) * rng.choice([1.0, 1.25, 1.333, 0.7], (n, 1))
    halves = rng.integers(-steps, steps + 1, shape)
    halves[:, 0] = np.where(rng.integers(0, 2, n) == 1, steps, -steps)
    yield "ties around zero", nudged(f16(scale * halves / 2))
    halves = rng.integers(0, 2 * steps + 1, shape)
    halves[:, 0], halves[:, 1] = 0, 2 * steps
    yield "ties above a minimum", nudged(f16(scale * (halves / 2 + rng.integers(-steps, 2, (n, 1)))))
    yield "extremes", np.where(rng.integers(0, 2, shape) == 1, 0x7BFF, 0xFBFF).astype(np.uint16) - (
        rng.integers(0, 64, shape, dtype=np.uint16))


def sixteen(blocks, at):
    return blocks[:, at].astype(np.uint16) | (blocks[:, at + 1].astype(np.uint16) << 8)


def set_sixteen(blocks, at, rows, values):
    blocks[rows, at] = values & 0xFF
    blocks[rows, at + 1] = values >> 8


def by_the_rule(name, x, blocks):
    """gguf's bytes with the signs of stored zeros as the reference encoder has them; how many blocks that changed."""
    before = blocks
    blocks = blocks.copy()
    values = x.view(np.float16)
    if name in ("q4_0", "q5_0"):
        zeros = (values == 0).all(axis=1)
        set_sixteen(blocks, 0, zeros, np.uint16(0x8000))
    if name in ("q4_1", "q5_1"):
        zeros = values.min(axis=1) == 0
        first = x[np.arange(len(x)), (values == 0).argmax(axis=1)]
        assert (sixteen(blocks, 2)[zeros] & 0x7FFF == 0).all()
        set_sixteen(blocks, 2, zeros, first[zeros])
    return blocks, int((blocks != before).any(axis=1).sum())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("--blocks", type=int, default=1_000_000, help="blocks per format, at least")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    np.seterr(all="ignore")
    kinds = len(list(random_blocks(np.random.default_rng(args.seed), 1, 16)))
    per_kind = -(-args.blocks // kinds)
    per_kind = -(-per_kind // BATCH) * BATCH
    different = 0
    print(f"gguf.quants against the ggml reference, blocks of {BLOCK}, seed {args.seed}")
    for name in TYPES:
        qtype = GGMLQuantizationType[name.upper()]
        total = 0
        for kind, x in random_blocks(np.random.default_rng(args.seed), per_kind, STEPS[name]):
            x = np.ascontiguousarray(x.astype("<u2"))
            run = subprocess.run([args.tool, name], input=x.tobytes(), stdout=subprocess.PIPE, check=True)
            wide = x.view(np.float16).astype(np.float32).reshape(-1, BLOCK * 64)
            theirs = quants.quantize(wide, qtype).reshape(len(x), -1)
            got = np.frombuffer(run.stdout, np.dtype([("bytes", "u1", theirs.shape[1]), ("decoded", "<u2", BLOCK)]))
            assert len(got) == len(x), "the tool's output has another length"
            expected, signs = by_the_rule(name, x, theirs)
            read = quants.dequantize(got["bytes"].reshape(-1), qtype).astype(np.float16).view(np.uint16)
            equal = (got["bytes"] == expected).all(axis=1) & (got["decoded"] == read.reshape(len(x), BLOCK)).all(axis=1)
            wrong = int((~equal).sum())
            different += wrong
            total += len(x)
            print(f"{name} {kind}: {len(x)} blocks, {wrong} different" + (f", {signs} with another sign of zero" if signs else ""))
            if wrong:
                i = int(np.flatnonzero(~equal)[0])
                print(f"  first: x = {[hex(v) for v in x[i]]}")
                print(f"  gguf: {expected[i].tobytes().hex(' ')}")
                print(f"  ggml: {got['bytes'][i].tobytes().hex(' ')}")
        print(f"{name}: {total} blocks, {total * BLOCK} values compared")
    print("equal: bytes and decoded values" if different == 0 else f"{different} blocks differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
