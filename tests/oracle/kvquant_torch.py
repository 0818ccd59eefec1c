#!/usr/bin/env python3
"""Compares the kvquant reference with an independent implementation in PyTorch, written from ref/kvquant.md: profile repo as tensor
operations of the kind the official simulated quantizer uses (quantiles, masks, argmin over distances, nan_to_num), profile paper by
sorting. Bit for bit: outliers, ranges, codes, stored outlier values, binary32 and fp16 results.

usage: kvquant_torch.py KVX [--rounds N] [--seed S]     (KVX: the built program)
Exit status: 0 equal, 1 different, 77 without PyTorch.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile

try:
    import numpy as np
    import torch
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

from safetensors_file import read_tensors, write_tensors

HEADS, DIM, TOKENS = 3, 64, 48
CHANNELS = HEADS * DIM


def normal_float(bits):
    inverse = statistics.NormalDist().inv_cdf
    delta = (1 / 32 + 1 / 30) / 2
    half = 1 << (bits - 1)
    negative = [inverse(delta + (0.5 - delta) * i / (half - 1)) for i in range(half)]
    positive = [inverse(0.5 + (0.5 - delta) * i / half) for i in range(half + 1)]
    values = [v / -negative[0] for v in negative[:-1]] + [0.0] + [v / positive[-1] for v in positive[1:]]
    return torch.tensor(values, dtype=torch.float64).float()


def f16(x):
    return x.half().float()


class Side:
    """One side of a layer; x [tokens, channels] float32 holding fp16 numbers."""

    def __init__(self, d, axis, tables):
        self.d, self.axis, self.tables = d, axis, tables
        self.bits = int(d["type"][-1])
        self.kind = d["type"][:-1]
        self.paper = d.get("profile") == "paper"
        self.sparsity = 1 - d["o"]
        self.book = tables.get("codebook") if self.kind == "nuq" else normal_float(self.bits) if self.kind == "nf" else None

    def ranges_and_outliers(self, x):
        if self.axis == "channel":
            lo, hi = self.tables["lo"][None, :].float(), self.tables["hi"][None, :].float()
            mask = (x > hi) | (x < lo) if self.d["o"] else torch.zeros_like(x, dtype=torch.bool)
            return lo, hi, mask
        if not self.d["o"]:
            return x.amin(1, keepdim=True), x.amax(1, keepdim=True), torch.zeros_like(x, dtype=torch.bool)
        if not self.paper:  # as the official function does it: interpolated quantiles, non-strict
            tail = 1 - (1 - self.sparsity) / 2
            upper = torch.quantile(x.double(), tail, dim=1, keepdim=True)
            lower = torch.quantile(x.double(), 1 - tail, dim=1, keepdim=True)
            mask = (x >= upper) | (x <= lower)
            median = torch.median(x, dim=1, keepdim=True).values
            inside = torch.where(mask, median, x)
            return inside.amin(1, keepdim=True), inside.amax(1, keepdim=True), mask
        m = (x.shape[1] - 1) // round(2 / self.d["o"]) + 1
        greatest = torch.argsort(-x, dim=1, stable=True)[:, :m]
        mask = torch.zeros_like(x, dtype=torch.bool).scatter(1, greatest, True)
        least = torch.argsort(torch.where(mask, torch.inf, x), dim=1, stable=True)[:, :m]
        mask = mask.scatter(1, least, True)
        return (torch.where(mask, torch.inf, x).amin(1, keepdim=True), torch.where(mask, -torch.inf, x).amax(1, keepdim=True), mask)

    def run(self, x):
        lo, hi, mask = self.ranges_and_outliers(x)
        lo, hi = lo + 0.0, hi + 0.0  # no negative zero
        half = self.d.get("zr") == "fp16" and self.axis == "channel"
        ranges = (lo.half(), hi.half()) if half else (lo, hi)
        hidden = mask & (not self.paper)
        if self.kind == "int":
            top = 2**self.bits - 1
            width = ranges[1] - ranges[0]
            k = torch.full_like(width, top) / width if self.paper else top / width
            o = ranges[0] * k
            if self.paper and self.axis == "token":
                o = torch.clamp(torch.round(o), -top, 0)
            t = torch.round(k * torch.where(hidden, torch.zeros_like(x), x) - o)
            codes = torch.nan_to_num(torch.clip(t, 0, top), nan=0.0).byte().float()  # a code has no sign of zero
            y = (codes + o).float() / k
            stored = x
        else:
            z, r = (ranges[1] + ranges[0]) / 2, (ranges[1] - ranges[0]) / 2
            u = torch.where(hidden, torch.zeros_like(x), (x - z) / r)
            codes = torch.zeros_like(x)
            for i, row in enumerate(u):
                codes[i] = torch.argmin((row[:, None] - self.book[None, :]).abs(), dim=1)
            codes = torch.where((r == 0).expand_as(x), torch.zeros_like(codes), codes)
            book = self.book
            if self.d.get("qnorm"):
                book = book * self.tables["qnorm"][0] + self.tables["qnorm"][1]
            looked_up = book[codes.long()]
            if self.kind == "nf":
                looked_up = looked_up.half()
                y = looked_up * r if half else looked_up.float() * r
                y = (y + z if half and not self.d["o"] else y.float() + z).float()
            else:
                y = looked_up * r + z
            stored = x if self.paper else x - z
            if not self.paper:
                y = torch.where(mask, stored + z, y)
        y = torch.where(torch.isfinite(y), y, torch.zeros_like(y))  # nan_to_num(nan=0, posinf=0, neginf=0)
        if self.paper or self.kind == "int":
            y = torch.where(mask, x, y)
        return {"lo": lo, "hi": hi, "mask": mask, "codes": codes.to(torch.uint8), "value": stored, "fp32": y, "result": f16(y)}


def heads_first(x):
    return x.reshape(TOKENS, HEADS, DIM).transpose(0, 1).contiguous().numpy()


def bits_of(array):
    width = {1: np.uint8, 2: np.uint16, 4: np.uint32}[array.dtype.itemsize]
    return np.ascontiguousarray(array).view(width)


def same(name, found, expected):
    if found.shape == expected.shape and (bits_of(found) == bits_of(expected.astype(found.dtype))).all():
        return True
    print(f"  {name}: differs")
    if found.shape == expected.shape:
        at = tuple(np.argwhere(bits_of(found) != bits_of(expected.astype(found.dtype)))[0])
        print(f"    at {at}: program {found[at]}, here {expected[at]}")
    return False


def compare(side, prefix, x, found, d):
    sink = d["s"]
    coded = x[sink:]
    expected = side.run(coded)
    exact = x[:sink]
    ok = True
    whole = lambda t: heads_first(torch.cat([torch.zeros(sink, CHANNELS, dtype=t.dtype), t]))
    ok &= same(prefix + "codes", found[prefix + "codes"][0], whole(expected["codes"]))
    if side.axis == "token":
        for end in ("lo", "hi"):
            ok &= same(prefix + end, found[prefix + end][0][sink:], expected[end][:, 0].half().numpy())
    if d["o"]:
        start, index = found[prefix + "outlier.start"][0], found[prefix + "outlier.index"][0]
        counts = np.concatenate([np.zeros(sink + 1), np.cumsum(expected["mask"].sum(1).numpy())]).astype(np.int32)
        ok &= same(prefix + "outlier.start", start, counts)
        ok &= same(prefix + "outlier.index", index[: counts[-1]], np.argwhere(expected["mask"].numpy())[:, 1].astype(np.int32))
        value = expected["value"][expected["mask"]]
        ok &= same(prefix + "outlier.value", found[prefix + "outlier.value"][0], (value.half() if side.paper else value).numpy())
    ok &= same(prefix + "decoded", found[prefix + "decoded"][0], heads_first(torch.cat([exact, expected["result"]])))
    if not side.paper:
        ok &= same(prefix + "decoded_fp32", found[prefix + "decoded_fp32"][0], heads_first(torch.cat([exact, expected["fp32"]])))
    return ok


def random_rows(rng, kind):
    x = rng.standard_normal((TOKENS, CHANNELS))
    if kind == "heavy":
        x *= np.where(rng.random(CHANNELS) < 0.05, 20, 1)
    if kind == "shifted":
        x += 3 * rng.standard_normal(CHANNELS)
    if kind == "few values":
        x = np.round(x * 2) / 2
    if kind == "constant":
        x = np.where(rng.random((TOKENS, 1)) < 0.5, x[:, :1], x)
    if kind == "small":
        x *= 2.0 ** rng.integers(-24, -14, (TOKENS, 1))
    if kind == "large":
        x = np.clip(x * 30000, -65504, 65504)
    return x.astype(np.float16)


def random_tables(rng, bits, x, sorted_book):
    book = np.sort(rng.uniform(-1, 1, 1 << bits)).astype(np.float32)
    if not sorted_book:
        rng.shuffle(book)
    lo, hi = np.quantile(x.astype(np.float32), [0.02, 0.98], axis=0).astype(np.float16) + np.float16(0)
    flat = rng.random(CHANNELS) < 0.05
    hi = np.where(flat, lo, hi)
    return {"codebook": book, "lo": lo, "hi": np.maximum(lo, hi), "qnorm": np.array([1.07, -0.013], np.float32)}


SCHEMES = (
    [f"nuq{b},o{o}" for b in (2, 3, 4) for o in (0, 0.01, 0.05)]
    + [f"nuq{b},o0.01,zr=fp16" for b in (2, 3, 4)]
    + [f"nuq{b},o0.02,s3,qnorm" for b in (2, 4)]
    + [f"nuq{b},o{o},profile=paper" for b in (2, 3, 4) for o in (0, 0.01, 0.1)]
    + ["nuq3,o0.1,kaxis=token", "nuq3,o0.1,vaxis=channel", "nuq4,o0.1,kaxis=token,rope=post,profile=paper"]
    + [f"nf{b},o0.01" for b in (2, 3, 4)] + ["nf4,zr=fp16", "nf3,o0.05,profile=paper", "nf4,kaxis=token,rope=post"]
    + [f"int{b},o0.01" for b in (2, 3, 4)] + ["int3", "int3,o0.05,zr=fp16", "int4,o0.05,profile=paper", "int3,kaxis=token,rope=post"]
    + ["int2,kaxis=token,rope=post,profile=paper"]
)


def parse(text):
    d = {"o": 0.0, "kaxis": "channel", "vaxis": "token"}
    for item in text.split(","):
        if "=" in item:
            key, value = item.split("=")
            d[key] = value
        elif item == "qnorm":
            d["qnorm"] = True
        elif item[0] in "os" and item[1].isdigit():
            d[item[0]] = float(item[1:]) if item[0] == "o" else int(item[1:])
        else:
            d["type"] = item
    d.setdefault("s", 1 if d.get("profile") == "paper" else 0)
    return d


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kvx")
    parser.add_argument("--rounds", type=int, default=2, help="random inputs of each kind a scheme")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    kinds = ["normal", "heavy", "shifted", "few values", "constant", "small", "large"]
    print(f"torch against the kvquant reference, {TOKENS} tokens of {HEADS} heads of {DIM}, {args.rounds} of each kind, seed {args.seed}")
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for text in SCHEMES:
            rng = np.random.default_rng(args.seed)
            d = parse(text)
            wrong = values = 0
            for kind in kinds * args.rounds:
                k, v = random_rows(rng, kind), random_rows(rng, kind)
                tables = {s: random_tables(rng, int(d["type"][-1]), x, d.get("profile") == "paper") for s, x in (("k", k), ("v", v))}
                batch = lambda x: x.reshape(TOKENS, HEADS, DIM).transpose(1, 0, 2)[None]
                write_tensors(folder / "in", {"k": batch(k), "v": batch(v)})
                write_tensors(folder / "cb", {f"layers.0.{s}.{n}": a for s, t in tables.items() for n, a in t.items()})
                needs = d["type"].startswith("nuq") or "channel" in (d["kaxis"], d["vaxis"])
                scheme = f"kvquant:{text}" + (f",cb={folder / 'cb'}" if needs else "")
                subprocess.run([args.kvx, "encode", "--scheme", scheme, "--in", folder / "in", "--out", folder / "out"], check=True)
                found = read_tensors(folder / "out")
                for s, x in (("k", k), ("v", v)):
                    torch_tables = {n: torch.from_numpy(a) for n, a in tables[s].items()}
                    side = Side(d, d[s + "axis"], torch_tables)
                    wrong += not compare(side, s + ".", torch.from_numpy(x.astype(np.float32)), found, d)
                    values += x.size
            bad += wrong
            print(f"kvquant:{text}: {values} values, {wrong} sides of {2 * len(kinds) * args.rounds} differ")
    print("equal: outliers, ranges, codes, stored values and results" if bad == 0 else f"{bad} sides differ")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
