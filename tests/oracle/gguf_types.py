"""Every quantised GGUF type against the gguf package, bit for bit, on random blocks.

  gguf_types.py GGUF_ROWS

Codes and packed scales are any bytes; the float16 scales are finite, half of them of the size that models have, half of any bits.
Then it prints the hashes that unit/model_checkpoint_test.cc holds. Exit code 77 where the gguf package is not there.
"""
import hashlib
import subprocess
import sys

import numpy

try:
    import gguf
    from gguf.quants import dequantize
except ImportError:
    print("skipped: no gguf package")
    sys.exit(77)

# Where the float16 numbers of a block lie.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
ROWS, BLOCKS = 512, 8


def finite_halves(random, count):
    usual = (random.standard_normal(count) * 0.01).astype("<f2")
    anything = random.integers(0, 1 << 16, count, dtype=numpy.uint16).view("<f2")
    anything = numpy.where(numpy.isfinite(anything), anything, numpy.float16(0.5)).astype("<f2")
    return numpy.where(random.integers(0, 2, count) == 0, usual, anything)


def golden(name, places, kind, size, blocks=64):
    """SHA-256 of the values of blocks whose bytes are SHA-256 of "NAME:0", "NAME:1", ..., each scale below 2."""
    stored = b"".join(hashlib.sha256(f"{name}:{i}".encode()).digest() for i in range(blocks * size // 32 + 1))[:blocks * size]
    stored = numpy.frombuffer(stored, numpy.uint8).reshape(blocks, size).copy()
    for place in places:
        stored[:, place + 1] &= 0xBF
    return hashlib.sha256(dequantize(stored.reshape(1, -1), kind).astype("<f4").tobytes()).hexdigest()


def main():
    different = 0
    for name, places in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        values, size = gguf.GGML_QUANT_SIZES[kind]
        random = numpy.random.default_rng(values * 1000 + size)
        stored = random.integers(0, 256, (ROWS * BLOCKS, size), dtype=numpy.uint8)
        for place in places:
            stored[:, place:place + 2] = finite_halves(random, len(stored)).view(numpy.uint8).reshape(-1, 2)
        theirs = dequantize(stored.reshape(ROWS, BLOCKS * size), kind).astype("<f4")
        out = subprocess.run([sys.argv[1], name, str(BLOCKS * values)], input=stored.tobytes(), check=True, stdout=subprocess.PIPE)
        ours = numpy.frombuffer(out.stdout, "<f4").reshape(theirs.shape)
        count = int((ours.view("<u4") != theirs.view("<u4")).sum())
        different += count
        print(f"{name}: {ours.size} values, {count} differ in a bit; golden {golden(name, places, kind, size)}")
    return 0 if different == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
