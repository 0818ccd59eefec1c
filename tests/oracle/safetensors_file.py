"""Safetensors files of NumPy arrays, in and out."""

import json
import struct

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I32": np.int32}


def write_tensors(path, tensors):
    header, data, offset = {}, [], 0
    names = {np.dtype(v): k for k, v in DTYPES.items()}
    for name, array in tensors.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": [offset, offset + len(raw)]}
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(data))


def read_tensors(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    body = raw[8 + length :]
    out = {}
    for name, t in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__":
            first, end = t["data_offsets"]
            out[name] = np.frombuffer(body[first:end], DTYPES[t["dtype"]]).reshape(t["shape"])
    return out
