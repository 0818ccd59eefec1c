"""Trains the model for a given time and exports it: train.py --data PREPARED --tokenizer FOLDER --out FOLDER --seconds N

The learning rate follows the clock: a warm-up, then a cosine over the schedule's share [--begin, --end] that this call
covers, so that a long training may be done in several calls (--init continues from an exported folder).
"""

import argparse
import math
import time

import torch

import batches
import export
from model import Config, Llama, rotary_tables


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder that prepare.py wrote")
    parser.add_argument("--tokenizer", required=True, help="folder of tokenizer.model")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seconds", type=float, required=True, help="of steps, compilation apart")
    parser.add_argument("--init", help="exported folder to continue from")
    parser.add_argument("--begin", type=float, default=0.0, help="share of the schedule already done")
    parser.add_argument("--end", type=float, default=1.0)
    parser.add_argument("--first-step", type=int, default=0, help="data of earlier calls is not seen again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--groups",
        default="prose:28:2048,documents:32:1024,documents:10:4096",
        help="rows of a batch, KIND:ROWS:LENGTH",
    )
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    parser.add_argument("--rate", type=float, help="peak; 5e-3 for muon, 4e-3 for adamw")
    parser.add_argument("--decay", type=float, default=0.1, help="weight decay of matrices")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--inner", type=int, default=832)
    parser.add_argument("--workers", type=int, default=6)
    parser.add_argument("--no-compile", action="store_true")
    return parser.parse_args()


def parse_groups(text):
    groups = [group.split(":") for group in text.split(",")]
    return [(kind, int(rows), int(width)) for kind, rows, width in groups]


def optimizers(model, options):
    """Matrices of the layers by Muon (or AdamW), the embedding and the norms by AdamW."""
    adam = {"lr": 4e-3, "betas": (0.9, 0.95), "eps": 1e-8, "fused": torch.cuda.is_available()}
    layers = [p for p in model.model.layers.parameters() if p.dim() == 2]
    embedding = [model.model.embed_tokens.weight]
    norms = [p for p in model.parameters() if p.dim() == 1]
    decay = options.decay
    if options.optimizer == "adamw":
        adam["lr"] = options.rate or adam["lr"]
        groups = [{"params": layers + embedding, "weight_decay": decay}]
        found = []
    else:
        groups = [{"params": embedding, "weight_decay": decay}]
        found = [
            torch.optim.Muon(
                layers,
                lr=options.rate or 5e-3,
                weight_decay=decay,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            )
        ]
    found.append(torch.optim.AdamW([*groups, {"params": norms, "weight_decay": 0.0}], **adam))
    for optimizer in found:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return found


def rate_at(share, done, options):
    """Factor of the peak rate. `share`: of the whole schedule; `done`: steps of this call."""
    warm = min(1.0, (done + 1) / (200 if options.init is None else 50))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if options.init:
        model = export.load(options.init, device)
    else:
        config = Config(layers=options.layers, hidden=options.hidden, inner=options.inner)
        model = Llama(config).to(device)
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {device}", flush=True)

    groups = parse_groups(options.groups)
    shapes = [(rows, width) for _, rows, width in groups]
    tables = rotary_tables(model.config, max(width for _, width in shapes), device)
    found = optimizers(model, options)
    data = batches.Batches(
        options.data, options.tokenizer, groups, options.seed, options.first_step, 1_000_000
    )
    loader = torch.utils.data.DataLoader(
        data, batch_size=None, num_workers=options.workers, prefetch_factor=4 if options.workers else None
    )
    loss_of = model.loss if options.no_compile else torch.compile(model.loss, fullgraph=True)

    start, elapsed, counted, sums = None, 0.0, 0, 0
    for step, rows in enumerate(loader):
        if step == 3:  # compiled by now
            start = time.perf_counter()
        elapsed = time.perf_counter() - start if start else 0.0
        if elapsed >= options.seconds:
            break
        share = options.begin + (options.end - options.begin) * elapsed / options.seconds
        factor = rate_at(share, step, options)
        ids = torch.cat([part[:, :-1].flatten() for part in rows]).to(device, non_blocking=True)
        targets = torch.cat([part[:, 1:].flatten() for part in rows]).to(device, non_blocking=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
            nll, marks = loss_of(ids, targets, shapes, tables, batches.PAD)
        (nll.sum() / marks.sum()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in found:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        sums = sums + torch.stack([nll.detach(), marks])
        counted += ids.numel()
        if step % 100 == 99:
            means = [round(mean, 4) for mean in (sums[0] / sums[1]).tolist()]
            print(
                f"step {options.first_step + step + 1}  {elapsed:.0f} s  rate x{factor:.3f}  loss {means}  "
                f"{counted / max(1e-9, time.perf_counter() - start) / 1e6:.2f} M tokens/s",
                flush=True,
            )
            sums = 0
    export.save(model, options.tokenizer, options.out)
    print(f"{options.out}: {step} steps, {counted / 1e6:.0f} M tokens, {elapsed:.0f} s", flush=True)


if __name__ == "__main__":
    main()
