#!/usr/bin/env python3
"""An artifact for kvquant from captured keys and values, without gradients: ranges of channels by percentiles, codebooks by
unweighted k-means. For golden vectors and experiments; `kvx calibrate` weighs by Fisher information.

usage: kvquant_tables.py CAPTURED OUT --bits B --outliers O     (CAPTURED: what kvx capture wrote)
Needs NumPy.
"""

import argparse
import pathlib
import re

import numpy as np

from safetensors_file import read_tensors, write_tensors


def codebook(u, codes):
    """Lloyd's algorithm from the quantiles; ascending."""
    centres = np.quantile(u, (np.arange(codes) + 0.5) / codes)
    for _ in range(30):
        cell = np.searchsorted((centres[1:] + centres[:-1]) / 2, u)
        centres = np.array([u[cell == i].mean() if (cell == i).any() else centres[i] for i in range(codes)])
    return np.sort(centres).astype(np.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("captured", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--bits", type=int, required=True)
    parser.add_argument("--outliers", type=float, required=True, help="fraction o")
    args = parser.parse_args()
    captured = read_tensors(args.captured)
    tables = {}
    for name, values in captured.items():
        match = re.fullmatch(r"(layers\.\d+)\.(k\.pre|v)", name)
        if not match:
            continue
        side = f"{match[1]}.{match[2][0]}."
        x = values[0].transpose(1, 0, 2).reshape(values.shape[2], -1).astype(np.float64)
        axis = 0 if match[2] == "k.pre" else 1
        lo = np.quantile(x, args.outliers / 2, axis=axis, keepdims=True)
        hi = np.quantile(x, 1 - args.outliers / 2, axis=axis, keepdims=True)
        u = (x - (hi + lo) / 2) / ((hi - lo) / 2)
        u = u[np.abs(u) <= 1]
        tables[side + "codebook"] = codebook(u, 1 << args.bits)
        image = tables[side + "codebook"][np.abs(u[:, None] - tables[side + "codebook"]).argmin(1)].astype(np.float64)
        alpha = u.std() / image.std()
        tables[side + "qnorm"] = np.array([alpha, u.mean() - alpha * image.mean()], np.float32)
        if axis == 0:
            tables[side + "lo"], tables[side + "hi"] = lo[0].astype(np.float16), hi[0].astype(np.float16)
    write_tensors(args.out, tables)


if __name__ == "__main__":
    main()
