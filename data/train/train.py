"""Trains the model for a given time and exports it.

    train.py --data PREPARED --tokenizer FOLDER --out FOLDER --seconds N

The learning rate follows the clock: a warm-up, then a cosine over the share of the schedule that this call covers, so
that a long training may be done in several calls: --init continues from a folder that an earlier call wrote, where its
training.json says that call ended. Optimiser state does not travel: with momenta of 0.95 it forgets in 20 steps.
"""

import argparse
import math
import os
import time

import torch

import attention
import batches
import export
from model import Config, Llama, rotary_tables
from muon import Muon
from step import Step


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder that prepare.py wrote")
    parser.add_argument("--tokenizer", required=True, help="folder of tokenizer.model")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, required=True, help="of steps, compilation apart")
    parser.add_argument("--init", help="exported folder to continue from")
    parser.add_argument("--end", type=float, default=1.0, help="share of the schedule done after this call")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--groups",
        default="prose:28:2048,documents:8:1024,documents:16:4096",
        help="rows of a batch, KIND:ROWS:LENGTH",
    )
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--rate", type=float, help="peak; 5e-3 for muon, 4e-3 for adamw")
    parser.add_argument("--decay", type=float, default=0.1, help="weight decay of matrices")
    parser.add_argument("--dropout", type=float, default=0.0, help="of what a layer adds, in rows of prose")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--heads", type=int, default=4, help="of queries")
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--inner", type=int, default=832)
    parser.add_argument("--value-weight", type=float, default=4.0, help="of a token of a needle's value")
    parser.add_argument("--lead-weight", type=float, default=24.0, help="of the first digit of a needle's value")
    parser.add_argument("--answer-weight", type=float, default=2.0, help="of a token of a word problem's answer")
    parser.add_argument("--workers", type=int, default=max(1, min(12, (os.cpu_count() or 2) - 3)))
    parser.add_argument("--attention", choices=["auto", "flash", "cudnn"], default="auto")
    parser.add_argument("--tell", type=int, default=100, help="steps between two lines of the log")
    parser.add_argument("--profile", action="store_true", help="first print which kernels take longest")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--no-graph", action="store_true", help="launch kernels one by one")
    return parser.parse_args()


def parse_groups(text):
    groups = [group.split(":") for group in text.split(",")]
    return [(kind, int(rows), int(width)) for kind, rows, width in groups]


def optimizers(model, options):
    """Matrices of the layers by Muon (or AdamW), the embedding and the norms by AdamW."""
    fused = {"fused": True, "capturable": torch.cuda.is_available()}
    adam = {"lr": 4e-3, "betas": (0.9, 0.95), "eps": 1e-8, **fused}
    layers = [p for p in model.model.layers.parameters() if p.dim() == 2]
    embedding = [model.model.embed_tokens.weight]
    norms = [p for p in model.parameters() if p.dim() == 1]
    decayed, found = embedding, []
    if options.optimizer == "muon":
        found.append(Muon(layers, options.rate or 5e-3, weight_decay=options.decay))
    else:
        adam["lr"] = options.rate or adam["lr"]
        decayed = layers + embedding
    groups = [
        {"params": decayed, "weight_decay": options.decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    return [*found, torch.optim.AdamW(groups, **adam)]


def rate_at(share, done, options):
    """Factor of the peak rate. `share`: of the whole schedule; `done`: steps of this call."""
    warm = min(1.0, (done + 1) / (200 if options.init is None else 50))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def profiled(step, batches_of, count=3):
    """Prints the kernels that take longest over `count` steps of rate 0."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        for _ in range(count):
            step.run(next(batches_of), 0.0)
        torch.cuda.synchronize()
    rows = sorted(profiler.key_averages(), key=lambda row: -row.self_device_time_total)
    total = sum(row.self_device_time_total for row in rows)
    print(f"{total / count / 1000:.2f} ms of kernels a step, {sum(r.count for r in rows) // count} kernels")
    for row in rows[:20]:
        milliseconds = row.self_device_time_total / count / 1000
        print(f"{milliseconds:8.2f} ms {row.count // count:5d} x {row.key[:100]}", flush=True)
    step.report()


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    history = []  # a record of each call
    if options.init:
        model = export.load(options.init, device)
        history = export.read_history(options.init)
    else:
        config = Config(
            layers=options.layers,
            hidden=options.hidden,
            heads=options.heads,
            kv_heads=options.kv_heads,
            inner=options.inner,
        )
        model = Llama(config).to(device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {device}", flush=True)

    groups = parse_groups(options.groups)
    shapes = [(rows, width) for _, rows, width in groups]
    tables = rotary_tables(model.config, max(width for _, width in shapes), device)
    if device == "cuda":
        attention.choose(options.attention, shapes, model.config)
    weights = (1.0, options.value_weight, options.answer_weight, options.lead_weight)
    compiled = not options.no_compile
    dropout = [options.dropout if kind == "prose" else 0.0 for kind, _, _ in groups] if options.dropout else None
    updates = optimizers(model, options)
    step = Step(model, updates, shapes, tables, weights, compiled, not options.no_graph, dropout)
    first = sum(call["steps"] for call in history)  # data of earlier calls is not seen again
    begin = history[-1]["end"] if history else 0.0
    data = batches.Batches(options.data, options.tokenizer, groups, options.seed, first, 1_000_000)
    start = time.perf_counter()
    step.prepare(data[0])
    print(f"compiled in {time.perf_counter() - start:.0f} s", flush=True)
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=8 if options.workers else None,
        pin_memory=device == "cuda",
    )
    batches_of = iter(loader)
    if options.profile and device == "cuda":
        profiled(step, batches_of)

    tokens = sum(rows * width for rows, width in shapes)
    done, loading = 0, 0.0
    start = told = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < options.seconds:
        share = begin + (options.end - begin) * elapsed / options.seconds
        factor = rate_at(share, done, options)
        asked = time.perf_counter()
        rows = next(batches_of)
        loading += time.perf_counter() - asked
        step.run(rows, factor)
        done += 1
        if done % options.tell == 0:
            means, milliseconds = step.report()
            now = time.perf_counter()
            took = now - told
            print(
                f"step {first + done}  {now - start:.0f} s  rate x{factor:.3f}  "
                f"loss {' '.join(f'{mean:.4f}' for mean in means)}  "
                f"{tokens * options.tell / took / 1e6:.2f} M tokens/s  gpu {milliseconds:.1f} ms a step  "
                f"waits: loader {loading / took:.0%} gpu {step.waited / took:.0%}",
                flush=True,
            )
            told, loading, step.waited = now, 0.0, 0.0
    record = {
        "steps": done,
        "tokens": done * tokens,
        "seconds": round(elapsed),
        "end": options.end,
        "groups": options.groups,
        "seed": options.seed,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
    }
    export.save(model, options.tokenizer, options.out, [*history, record])
    print(f"{options.out}: {done} steps, {done * tokens / 1e6:.0f} M tokens, {elapsed:.0f} s", flush=True)


if __name__ == "__main__":
    main()
