#!/usr/bin/env python3
"""Compares the kivi reference with an independent float16 implementation in NumPy, group by group, bit for bit.

NumPy's float16 operators widen to float32, compute once and round to float16, which is the arithmetic of ref/kivi.md. Nothing
here shares code with the program.

usage: kivi_float16.py TOOL [--groups N] [--seed S]     (TOOL: the built kivi_groups)
Exit status: 0 equal, 1 different, 77 without NumPy.
"""

import argparse
import subprocess
import sys

try:
    import numpy as np
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

G = 32
BATCH = 1024  # the tool's; its last batch is filled up


def random_groups(rng, n):
    """Name and [n, G] fp16 bit patterns, all finite, of every kind of group."""
    def finite(shape):
        bits = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
        return np.where((bits & 0x7C00) == 0x7C00, bits & 0xBFFF, bits).astype(np.uint16)

    def f16(x):
        return np.asarray(x, np.float64).astype(np.float16).view(np.uint16)

    def same_binade(bits):
        exponent = rng.integers(0, 31, (n, 1), dtype=np.uint16) << 10
        return (bits & 0x83FF) | exponent

    yield "any finite pattern", finite((n, G))
    yield "one binade", same_binade(finite((n, G)))
    yield "subnormal", finite((n, G)) & 0x83FF
    yield "a few least subnormals", finite((n, G)) & 0x801F
    yield "signed zeros", finite((n, G)) & 0x8000
    yield "signed zeros and one small value", np.where(
        np.arange(G) == rng.integers(0, G, (n, 1)), finite((n, G)) & 0x83FF, finite((n, G)) & 0x8000)
    yield "constant", np.repeat(finite((n, 1)), G, axis=1)
    yield "constant but for one", np.where(
        np.arange(G) == rng.integers(0, G, (n, 1)), finite((n, G)), finite((n, 1)))
    yield "two values", np.where(rng.integers(0, 2, (n, G)) == 1, finite((n, 1)), finite((n, 1)))
    yield "neighbouring patterns", (finite((n, 1)) & 0x7BE0) + rng.integers(0, 32, (n, G), dtype=np.uint16)
    yield "normal", f16(rng.standard_normal((n, G)) * np.exp2(rng.integers(-20, 12, (n, 1))))
    yield "normal with a bias", f16(rng.standard_normal((n, G)) + 30 * rng.standard_normal((n, 1)))
    # Multiples of half a step of the quantizer, for b = 2, 4, 8, and one pattern to either side of them.
    for bits in (2, 4, 8):
        q = (1 << bits) - 1
        step = np.exp2(rng.integers(-14, 6, (n, 1)).astype(float)) * rng.choice([1.0, 1.25, 1.333, 0.7], (n, 1))
        halves = rng.integers(0, 2 * q + 1, (n, G))
        halves[:, 0], halves[:, 1] = 0, 2 * q
        x = f16(step * (halves / 2 + rng.integers(-q, 2, (n, 1))))
        nudge = rng.integers(-1, 2, (n, G)) * (rng.random((n, G)) < 0.3)
        nudged = (x.astype(np.int32) + nudge).clip(0, 0xFFFF).astype(np.uint16)
        ok = (nudged & 0x7C00) != 0x7C00
        yield f"ties at {bits} bits", np.where(ok, nudged, x)
    yield "extremes", np.where(rng.integers(0, 2, (n, G)) == 1, 0x7BFF, 0xFBFF).astype(np.uint16) - (
        rng.integers(0, 64, (n, G), dtype=np.uint16))


def quantize(bits_in, b):
    """scale, minimum, codes, words, decoded of [n, G] patterns; float16 operators throughout."""
    x = bits_in.view(np.float16)
    q = (1 << b) - 1
    # Order by value with -0 below +0: of equal values the pattern with the sign is the less.
    mn, mx = x.min(axis=1), x.max(axis=1)
    negative_zero = ((x == 0) & np.signbit(x)).any(axis=1)
    positive_zero = ((x == 0) & ~np.signbit(x)).any(axis=1)
    mn = np.where(mn == 0, np.where(negative_zero, np.float16(-0.0), np.float16(0.0)), mn)
    mx = np.where(mx == 0, np.where(positive_zero, np.float16(0.0), np.float16(-0.0)), mx)
    r = mx - mn
    assert r.dtype == np.float16
    s = (r.astype(np.float32) * (np.float32(1) / np.float32(q))).astype(np.float16)
    d = x - mn[:, None]
    t = d / s[:, None]
    assert t.dtype == np.float16
    clamped = np.where(t < 0, np.float16(0), np.where(t > q, np.float16(q), t))
    codes = np.where(np.isnan(t), 0, np.rint(np.where(np.isnan(t), 0, clamped)).astype(np.int32))
    per_word = 32 // b
    lanes = codes.astype(np.uint32).reshape(len(x), G // per_word, per_word)
    words = np.bitwise_or.reduce(lanes << (np.arange(per_word, dtype=np.uint32) * np.uint32(b)), axis=2)
    decoded = codes.astype(np.float16) * s[:, None] + mn[:, None]
    assert decoded.dtype == np.float16
    return s, mn, codes.astype(np.uint8), words, decoded


def patterns(x):
    bits = np.ascontiguousarray(x).view(np.uint16)
    return np.where((bits & 0x7FFF) > 0x7C00, 0x7E00, bits)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tool")
    parser.add_argument("--groups", type=int, default=1_000_000, help="groups per number of bits, at least")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    np.seterr(all="ignore")
    kinds = len(list(random_groups(np.random.default_rng(args.seed), 1)))
    per_kind = -(-args.groups // kinds)
    different = 0
    print(f"numpy float16 against the kivi reference, groups of {G}, seed {args.seed}")
    for b in (2, 4, 8):
        record = np.dtype([("scale", "<u2"), ("minimum", "<u2"), ("codes", "u1", G), ("words", "<u4", b), ("decoded", "<u2", G)])
        total = 0
        for name, groups in random_groups(np.random.default_rng(args.seed), per_kind):
            groups = np.ascontiguousarray(groups.astype("<u2"))
            run = subprocess.run([args.tool, str(b)], input=groups.tobytes(), stdout=subprocess.PIPE, check=True)
            got = np.frombuffer(run.stdout, record)
            assert len(got) == -(-len(groups) // BATCH) * BATCH, "the tool's output has another length"
            got = got[: len(groups)]
            s, mn, codes, words, decoded = quantize(groups, b)
            equal = ((patterns(got["scale"]) == patterns(s)) & (patterns(got["minimum"]) == patterns(mn))
                     & (got["codes"] == codes).all(axis=1) & (got["words"] == words).all(axis=1)
                     & (patterns(got["decoded"]) == patterns(decoded)).all(axis=1))
            wrong = int((~equal).sum())
            different += wrong
            total += len(groups)
            print(f"b={b} {name}: {len(groups)} groups, {wrong} different")
            if wrong:
                i = int(np.flatnonzero(~equal)[0])
                print(f"  first: x = {[hex(v) for v in groups[i]]}")
                print(f"  numpy: s {s[i].view(np.uint16):#06x} mn {mn[i].view(np.uint16):#06x} codes {codes[i].tolist()}")
                print(f"  kivi:  s {got['scale'][i]:#06x} mn {got['minimum'][i]:#06x} codes {got['codes'][i].tolist()}")
        print(f"b={b}: {total} groups, {total * G} values compared")
    print("equal: codes, scales, minima, words and decoded values" if different == 0 else f"{different} groups differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
