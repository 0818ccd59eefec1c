"""Fake quantisation of K and V at all positions (cache mode `all`), for a first look; `kvx eval` has the exact schemes.

A coder takes and returns K and V, [rows, kv heads, length, head_dim] float32, K rotated. Integers are asymmetric:
code = round((x - min) / scale), scale = (max - min) / (2^bits - 1), in float32.
"""

import torch

GROUP = 32


def integers(x, bits, dim):
    """Quantises and decodes; `dim` is the axis of a group."""
    low, high = x.amin(dim, keepdim=True), x.amax(dim, keepdim=True)
    scale = ((high - low) / (2**bits - 1)).clamp(min=1e-20)
    return ((x - low) / scale).round() * scale + low


def per_token(x, bits, group):
    return integers(x.unflatten(-1, (-1, group)), bits, -1).flatten(-2)


def per_channel(x, bits):
    """Groups of GROUP consecutive tokens; a last one may be shorter."""
    whole = x.shape[2] // GROUP * GROUP
    parts = [integers(x[:, :, :whole].unflatten(2, (-1, GROUP)), bits, 3).flatten(2, 3)] if whole else []
    if whole < x.shape[2]:
        parts.append(integers(x[:, :, whole:], bits, 2))
    return torch.cat(parts, dim=2)


def bfloat16(keys, values):
    return keys.bfloat16().float(), values.bfloat16().float()


def int_coder(bits):
    return lambda keys, values: (
        per_token(keys, bits, keys.shape[-1]),
        per_token(values, bits, values.shape[-1]),
    )


def kivi_coder(key_bits, value_bits):
    return lambda keys, values: (per_channel(keys, key_bits), per_token(values, value_bits, GROUP))


CODERS = {
    "bf16": bfloat16,
    "K per channel g32, V per token g32, 4 bits": kivi_coder(4, 4),
    "same, K4 V2": kivi_coder(4, 2),
    "same, 3 bits": kivi_coder(3, 3),
    "same, 2 bits": kivi_coder(2, 2),
    "per token (one group per head), 4 bits": int_coder(4),
    "per token (one group per head), 3 bits": int_coder(3),
    "per token (one group per head), 2 bits": int_coder(2),
}
