"""Decode attention of other programs at the shapes of `kvx bench`, for the same tables (`kvx bench --peers FILE`).

    attention.py --heads 32/8,32/32 --batch 8 --tokens 32768 --json peers.json       needs a CUDA device, PyTorch, Triton
    TRITON_INTERPRET=1 attention.py --check --tokens 700 --heads 4/2 --dim 64        results alone, without a device

One query token a sequence, one layer. Peers:
    torch:cudnn, torch:flash    scaled_dot_product_attention of PyTorch with that back-end, binary16, grouped queries
    triton:kivi-style-kBvB,gG   a stand-in of ours for kernels that decode and multiply: K in groups of G tokens of a
                                channel, V in groups of G channels of a token, both B bits with a binary16 scale and
                                minimum; products on tensor cores, the context split, partial results combined. It is
                                not the code of the KIVI authors.

Calls are CUDA graphs over distinct caches that together are larger than three times the L2 cache; median, p10 and p90
of the samples; the bandwidth of reading is measured in the same process. Every result is compared with binary64
attention over the decoded values. What cannot be run is named in the file, with the reason. Schema: kvx-bench/1
(reports/schema/bench.md). Exit code 1: a result is wrong; 3: nothing could be run."""

import argparse
import datetime
import json
import math
import platform
import statistics
import sys
import time

try:
    import torch
except ImportError:
    sys.exit("attention.py: needs PyTorch")
try:
    import triton
    import triton.language as tl

    NO_TRITON = ""
except ImportError as error:
    NO_TRITON = str(error)

WORD_ROWS = 32  # rows of a tile: field f of word j of a block is token 32 f + j
TOLERANCE = 0.02  # of the largest output


# Measuring.


def spread(samples):
    samples = sorted(samples)

    def percentile(share):
        at = share * (len(samples) - 1)
        low = math.floor(at)
        high = min(low + 1, len(samples) - 1)
        return samples[low] + (at - low) * (samples[high] - samples[low])

    return {"median": percentile(0.5), "p10": percentile(0.1), "p90": percentile(0.9), "samples": len(samples)}


def seconds_of(work):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e-3


def calls_for(seconds, buffers):
    """Whole rounds over the buffers: at least 20 calls and a millisecond, unless a round takes a tenth of a second."""
    if 0.1 / seconds < buffers:
        return buffers
    calls = min(max(20, math.ceil(1e-3 / seconds)), 0.1 / seconds, 8192)
    return max(1, math.ceil(calls / buffers)) * buffers


def captured(call, buffers, calls):
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            call(i % buffers)
    return graph


def time_calls(call, buffers, samples):
    """Samples of seconds of call(i), i over the buffers, in a CUDA graph; and the calls in it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # compiles and chooses kernels
        for i in range(buffers):
            call(i)
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = captured(call, buffers, buffers)
    seconds = min(seconds_of(graph.replay) for _ in range(3)) / buffers
    calls = calls_for(max(seconds, 1e-7), buffers)
    if calls != buffers:
        graph = captured(call, buffers, calls)
    begin = time.monotonic()
    while time.monotonic() - begin < 0.5:
        seconds_of(graph.replay)
    return [seconds_of(graph.replay) / calls for _ in range(samples)], calls


def clock_mhz():
    try:
        return float(torch.cuda.clock_rate())
    except Exception:  # needs NVML's bindings
        return 0.0


# The stand-in.

if not NO_TRITON:

    @triton.jit
    def read_kernel(data, out, steps, block: tl.constexpr):
        at = tl.program_id(0).to(tl.int64) * steps * block + tl.arange(0, block)
        total = tl.zeros([block], tl.int32)
        for i in range(steps):
            total ^= tl.load(data + at + i * block)
        tl.store(out + tl.program_id(0), tl.sum(total, 0))

    @triton.jit
    def split_kernel(
        q, k_words, k_scale, k_min, v_words, v_scale, v_min, partial, sums, tokens, blocks, per_split, scale,
        group_heads: tl.constexpr, padded_heads: tl.constexpr, dim: tl.constexpr, bits: tl.constexpr,
        group: tl.constexpr,
    ):  # fmt: skip
        head = tl.program_id(0).to(tl.int64)  # sequence * KV heads + KV head
        split = tl.program_id(1)
        fields: tl.constexpr = 32 // bits
        rows = tl.arange(0, 32)
        heads = tl.arange(0, padded_heads)
        channels = tl.arange(0, dim)
        query = tl.load(
            q + (head * group_heads + heads[:, None]) * dim + channels[None, :], heads[:, None] < group_heads, 0.0
        )
        most = tl.full([padded_heads], -1e30, tl.float32)
        weight = tl.zeros([padded_heads], tl.float32)
        out = tl.zeros([padded_heads, dim], tl.float32)
        for block in range(split * per_split, tl.minimum((split + 1) * per_split, blocks)):
            place = (head * blocks + block) * 32 * dim + rows[:, None] * dim + channels[None, :]
            k_word, v_word = tl.load(k_words + place), tl.load(v_words + place)
            for field in tl.static_range(fields):
                token = (block * fields + field) * 32 + rows
                k_group = (head * blocks * fields * 32 + (block * fields + field) * 32) // group * dim + channels
                k_code = ((k_word >> (bits * field)) & ((1 << bits) - 1)).to(tl.float32)
                k_step, k_low = tl.load(k_scale + k_group), tl.load(k_min + k_group)
                k = k_code * k_step.to(tl.float32)[None, :] + k_low.to(tl.float32)[None, :]
                score = tl.dot(query, tl.trans(k.to(tl.float16))) * scale
                score = tl.where((token < tokens)[None, :], score, -1e30)
                now = tl.maximum(most, tl.max(score, 1))
                p = tl.where((token < tokens)[None, :], tl.exp2(score - now[:, None]), 0.0)
                shrink = tl.exp2(most - now)
                most = now
                weight = weight * shrink + tl.sum(p, 1)
                v_place = (head * blocks * fields * 32 + token)[:, None] * (dim // group) + (channels // group)[None, :]
                v_code = ((v_word >> (bits * field)) & ((1 << bits) - 1)).to(tl.float32)
                v_step, v_low = tl.load(v_scale + v_place), tl.load(v_min + v_place)
                v = v_code * v_step.to(tl.float32) + v_low.to(tl.float32)
                out = out * shrink[:, None] + tl.dot(p.to(tl.float16), v.to(tl.float16))
        at = (head * tl.num_programs(1) + split) * padded_heads + heads
        tl.store(partial + at[:, None] * dim + channels[None, :], out)
        tl.store(sums + at * 2, most)
        tl.store(sums + at * 2 + 1, weight)

    @triton.jit
    def combine_kernel(
        partial, sums, out, splits, group_heads: tl.constexpr, padded_heads: tl.constexpr, dim: tl.constexpr
    ):
        head, query = tl.program_id(0).to(tl.int64), tl.program_id(1)
        channels = tl.arange(0, dim)
        most = tl.full([], -1e30, tl.float32)
        weight = tl.zeros([], tl.float32)
        total = tl.zeros([dim], tl.float32)
        for split in range(splits):
            at = (head * splits + split) * padded_heads + query
            high = tl.load(sums + at * 2)
            now = tl.maximum(most, high)
            shrink, grow = tl.exp2(most - now), tl.exp2(high - now)
            total = total * shrink + grow * tl.load(partial + at * dim + channels)
            weight = weight * shrink + grow * tl.load(sums + at * 2 + 1)
            most = now
        tl.store(out + (head * group_heads + query) * dim + channels, (total / weight).to(tl.float16))


def quantize(x, bits, group, along_tokens):
    """Codes, scale and minimum (binary16) of x [heads, tokens, dim], and the values they stand for (binary32)."""
    heads, tokens, dim = x.shape
    grouped = x.float().reshape(
        (heads, tokens // group, group, dim) if along_tokens else (heads, tokens, dim // group, group)
    )
    axis = 2 if along_tokens else 3
    low = grouped.amin(axis, keepdim=True)
    step = ((grouped.amax(axis, keepdim=True) - low) / ((1 << bits) - 1)).clamp_min(1e-6).half()
    low = low.half()
    codes = ((grouped - low.float()) / step.float()).round().clamp(0, (1 << bits) - 1)
    decoded = (codes * step.float() + low.float()).reshape(heads, tokens, dim)
    return codes.to(torch.int32).reshape(heads, tokens, dim), step.squeeze(axis), low.squeeze(axis), decoded


def packed(codes, bits):
    """[heads, tokens, dim] -> words [heads, blocks, 32, dim]."""
    heads, tokens, dim = codes.shape
    fields = 32 // bits
    of = codes.reshape(heads, tokens // (32 * fields), fields, WORD_ROWS, dim)
    words = torch.zeros_like(of[:, :, 0])
    for field in range(fields):
        words |= of[:, :, field] << (bits * field)
    return words.contiguous()


class KiviStyle:
    def __init__(self, shape, bits, group):
        if NO_TRITON:
            raise RuntimeError(f"no Triton: {NO_TRITON}")
        if shape.dim & (shape.dim - 1) or shape.dim % group or group % 32:
            raise RuntimeError(f"head dim {shape.dim} with groups of {group}: not a power of two in groups of 32 k")
        self.shape, self.bits, self.group = shape, bits, group
        self.name, self.arithmetic = f"triton:kivi-style-k{bits}v{bits},g{group}", "fp16"
        self.block = 32 * (32 // bits)
        self.blocks = math.ceil(shape.tokens / self.block)
        self.group_heads = shape.q_heads // shape.kv_heads
        self.padded_heads = max(16, 1 << (self.group_heads - 1).bit_length())
        rows = shape.sequences * shape.kv_heads
        self.per_split = max(1, math.ceil(self.blocks * rows / (4 * processors())))
        self.splits = math.ceil(self.blocks / self.per_split)
        self.partial = torch.empty(rows * self.splits * self.padded_heads * shape.dim, device=DEVICE)
        self.sums = torch.empty(rows * self.splits * self.padded_heads * 2, device=DEVICE)
        self.bytes_per_value = bits / 8 + 4 / group
        self.bytes = int(2 * shape.values * self.bytes_per_value)
        self.bits_per_value = 8 * self.bytes_per_value

    def encode(self, k, v):
        """The cache of K and V [sequences * KV heads, tokens, dim], and what it stands for, a head at a time."""
        pad = self.blocks * self.block - self.shape.tokens
        parts, decoded = [], []
        for x, along in ((k, True), (v, False)):
            made, values = [], []
            for head in range(x.shape[0]):  # one after the other: working values take many times the space
                # The last tokens again, so that padding widens no group.
                rows = torch.cat([x[head : head + 1], x[head : head + 1, -1:].expand(-1, pad, -1)], 1)
                codes, step, low, value = quantize(rows, self.bits, self.group, along)
                made.append((packed(codes, self.bits), step, low))
                values.append(value[:, : self.shape.tokens].half())
            parts += [torch.cat(one) for one in zip(*made)]
            decoded.append(torch.cat(values))
        return parts, decoded

    def __call__(self, q, cache):
        shape, rows = self.shape, self.shape.sequences * self.shape.kv_heads
        out = torch.empty_like(q)
        split_kernel[(rows, self.splits)](
            q, *cache, self.partial, self.sums, shape.tokens, self.blocks, self.per_split,
            math.log2(math.e) / math.sqrt(shape.dim), self.group_heads, self.padded_heads, shape.dim, self.bits,
            self.group,
        )  # fmt: skip
        combine_kernel[(rows, self.group_heads)](
            self.partial, self.sums, out, self.splits, self.group_heads, self.padded_heads, shape.dim
        )
        return out


class Sdpa:
    def __init__(self, shape, backend):
        from torch.nn.attention import SDPBackend

        self.shape, self.name, self.arithmetic = shape, f"torch:{backend}", "fp16"
        self.backend = {
            "cudnn": SDPBackend.CUDNN_ATTENTION,
            "flash": SDPBackend.FLASH_ATTENTION,
            "math": SDPBackend.MATH,
        }[backend]
        self.bytes, self.bits_per_value = 4 * shape.values, 16.0

    def encode(self, k, v):
        shape = (self.shape.sequences, self.shape.kv_heads, self.shape.tokens, self.shape.dim)
        return [k.reshape(shape).clone(), v.reshape(shape).clone()], [k, v]

    def __call__(self, q, cache):
        from torch.nn.attention import sdpa_kernel

        query = q.reshape(self.shape.sequences, self.shape.q_heads, 1, self.shape.dim)
        with sdpa_kernel([self.backend]):
            out = torch.nn.functional.scaled_dot_product_attention(query, *cache, enable_gqa=True)
        return out.reshape(q.shape)


# The loop.


class Shape:
    def __init__(self, q_heads, kv_heads, dim, sequences, tokens):
        self.q_heads, self.kv_heads, self.dim = q_heads, kv_heads, dim
        self.sequences, self.tokens = sequences, tokens
        self.values = sequences * kv_heads * tokens * dim  # of K; V has as many

    def json(self):
        return {
            "q_heads": self.q_heads,
            "kv_heads": self.kv_heads,
            "head_dim": self.dim,
            "sequences": self.sequences,
            "tokens": self.tokens,
            "queries": 1,
        }

    def __str__(self):
        return f"{self.q_heads}/{self.kv_heads} x {self.dim}, batch {self.sequences}, {self.tokens} tokens"


def processors():
    return torch.cuda.get_device_properties(0).multi_processor_count if DEVICE == "cuda" else 4


def l2_bytes():
    return torch.cuda.get_device_properties(0).L2_cache_size


def inputs_of(shape):
    """Binary16 Q [sequences, q heads, dim], K and V [sequences * KV heads, tokens, dim]: a few channels are heavy."""
    torch.manual_seed(1)
    channels = (shape.kv_heads, 1, shape.dim)

    def heavy():
        heavier = 10 + 40 * torch.rand(channels, device=DEVICE)
        return torch.where(torch.rand(channels, device=DEVICE) < 1 / 32, heavier, torch.ones_like(heavier))

    scales, bias = (heavy(), heavy()), torch.randn(channels, device=DEVICE)

    def rows(scale, bias, noise):
        of = (shape.kv_heads, shape.tokens, shape.dim)
        parts = [(bias + noise * torch.randn(of, device=DEVICE)) * scale for _ in range(shape.sequences)]
        return torch.cat([part.half() for part in parts])

    q = 0.125 * torch.randn((shape.sequences, shape.q_heads, shape.dim), device=DEVICE)
    return q.half(), rows(scales[0], bias, 0.5), rows(scales[1], 0.0, 1.0)


def reference(shape, q, k, v):
    """Binary64 attention, a KV head at a time."""
    group = shape.q_heads // shape.kv_heads
    grouped = q.double().reshape(-1, group, shape.dim)
    outs = []
    for head in range(k.shape[0]):
        weights = torch.softmax(grouped[head] @ k[head].double().T / math.sqrt(shape.dim), -1)
        outs.append(weights @ v[head].double())
    return torch.cat(outs).reshape(q.shape)


def check_of(found, expected):
    largest = (found.double() - expected).abs().max().item()
    if not math.isfinite(largest):
        raise RuntimeError("the output is not finite")
    return {
        "against": "binary64 attention over the decoded values",
        "max_abs": largest,
        "relative": largest / expected.abs().max().item(),
    }


def run_peer(make, shape, samples):
    """The record of a peer on a shape; of --check without times."""
    peer = make(shape)
    q, k, v = inputs_of(shape)
    cache, decoded = peer.encode(k, v)
    check = check_of(peer(q, cache), reference(shape, q, *decoded))
    record = {"op": "attend", "name": peer.name, "arithmetic": peer.arithmetic, "shape": shape.json(), "check": check}
    if samples == 0:
        return record
    del k, v, decoded
    buffers = max(2, math.ceil(3.125 * l2_bytes() / peer.bytes))
    caches = [cache] + [[part.clone() for part in cache] for _ in range(buffers - 1)]
    seconds, calls = time_calls(lambda i: peer(q, caches[i]), buffers, samples)
    record.update(
        session=0,
        length=shape.tokens,
        bytes=peer.bytes,
        bits_per_value=peer.bits_per_value,
        seconds=spread(seconds),
        calls=calls,
        buffers=buffers,
        cold=buffers * peer.bytes > 3 * l2_bytes(),
        clock_mhz=clock_mhz(),
    )
    return record


def rates(samples):
    """Bytes per second of a read (the better of a sum by PyTorch and a kernel of Triton) and of a copy, over 1 GiB."""
    count = 1 << 28
    data = torch.randint(-(1 << 31), (1 << 31) - 1, (count,), dtype=torch.int32, device=DEVICE)
    into = torch.empty_like(data)
    ways = [lambda i: torch.sum(data, dtype=torch.int32)]
    if not NO_TRITON:
        programs, block = 8 * processors(), 1024
        steps = count // block // programs
        out = torch.empty(programs, dtype=torch.int32, device=DEVICE)
        ways.append(lambda i: read_kernel[(programs,)](data, out, steps, block, num_warps=8))
    read = []
    for i, way in enumerate(ways):
        size = 4 * count if i == 0 else 4 * programs * steps * block
        found = [size / s for s in time_calls(way, 1, samples)[0]]
        if not read or statistics.median(found) > statistics.median(read):
            read = found
    copy = [8 * count / s for s in time_calls(lambda i: into.copy_(data), 1, samples)[0]]
    return spread(read), spread(copy)


def peers_of(args):
    names = ["cudnn", "flash"] if DEVICE == "cuda" else ["math"]
    for name in names:
        yield f"torch:{name}", lambda shape, name=name: Sdpa(shape, name)
    for bits in args.bits:
        for group in args.group:
            yield (
                f"triton:kivi-style-k{bits}v{bits},g{group}",
                lambda shape, bits=bits, group=group: KiviStyle(shape, bits, group),
            )


def shapes_of(args):
    return [
        Shape(q, kv, dim, sequences, tokens)
        for q, kv in args.heads
        for dim in args.dim
        for sequences in args.batch
        for tokens in args.tokens
    ]


def parse(words):
    def integers(text):
        numbers = [int(one) for one in text.split(",")]
        if min(numbers) < 1:
            raise argparse.ArgumentTypeError("must be at least 1")
        return numbers

    def heads(text):
        pairs = [tuple(int(one) for one in pair.split("/")) for pair in text.split(",")]
        if any(len(pair) != 2 or pair[1] < 1 or pair[0] % pair[1] for pair in pairs):
            raise argparse.ArgumentTypeError("must be query heads/KV heads, as 32/8")
        return pairs

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=heads, default=[(32, 8)], help="query heads/KV heads, a list")
    parser.add_argument("--dim", type=integers, default=[128])
    parser.add_argument("--batch", type=integers, default=[1])
    parser.add_argument("--tokens", type=integers, default=[4096])
    parser.add_argument("--bits", type=integers, default=[4, 2], help="of the stand-in: 2, 4, 8")
    parser.add_argument("--group", type=integers, default=[32], help="of the stand-in: multiples of 32")
    parser.add_argument("--samples", type=int, default=30, help="at least 30")
    parser.add_argument("--check", action="store_true", help="results alone, no times; needs no device")
    parser.add_argument("--json", help="file to write")
    args = parser.parse_args(words)
    if args.samples < 30:
        parser.error("--samples: at least 30")
    if any(bits not in (2, 4, 8) for bits in args.bits):
        parser.error("--bits: 2, 4 or 8")
    return args


def main(words):
    global DEVICE
    args = parse(words)
    DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    if DEVICE == "cpu" and not args.check:
        print("attention.py: no CUDA device (--check compares results without one)", file=sys.stderr)
        return 3
    samples = 0 if args.check else args.samples
    session = {
        "source": "peers",
        "backend": DEVICE,
        "device": torch.cuda.get_device_name(0) if DEVICE == "cuda" else platform.processor(),
        "made": {
            "started": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "command": ["attention.py", *words],
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version() if DEVICE == "cuda" else None,
            "triton": NO_TRITON or triton.__version__,
            "host": platform.node(),
        },
        "absent": [],
    }
    if not args.check:
        session["read"], session["copy"] = rates(samples)
    records, wrong = [], 0
    for shape in shapes_of(args):
        for name, make in peers_of(args):
            try:
                record = run_peer(make, shape, samples)
            except Exception as error:  # one peer's failure is not another's
                reason = str(error).strip().split("\n")[0] or type(error).__name__
                session["absent"].append({"name": f"{name}, {shape}", "reason": reason})
                print(f"not run: {name}, {shape}: {reason}", file=sys.stderr)
                continue
            finally:
                if DEVICE == "cuda":
                    torch.cuda.empty_cache()
            records.append(record)
            bad = record["check"]["relative"] > TOLERANCE
            wrong += bad
            took = f"{1e6 * record['seconds']['median']:9.2f} us  " if samples else ""
            print(f"{took}{name}, {shape}: {'WRONG, ' if bad else ''}{record['check']['relative']:.2g} of the largest")
            if args.json and samples:
                with open(args.json, "w", encoding="utf-8") as file:
                    json.dump({"schema": "kvx-bench/1", "sessions": [session], "records": records}, file, indent=1)
    return 1 if wrong else 0 if records else 3


DEVICE = "cpu"
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
