"""One training step: loss, gradients and update, on a GPU recorded once as a CUDA graph and then replayed."""

import time

import torch
from torch.nn import functional as F

from batches import ANSWER, LEAD, PAD, TOKEN_BITS, VALUE

KINDS = (VALUE, ANSWER, LEAD)
AHEAD = 2  # steps that the host may be in front of the GPU


def losses(model, rows, tables, weights, dropout=None):
    """Cross-entropy of a batch. `rows`: int16 [rows, length + 1] of each group (batches.py); `weights`: of a target of
    each kind; `dropout`: the share of each group's elements that a layer leaves out, or None. Returns the weighted mean, and the plain sums and numbers of targets, of each group and each of KINDS."""
    entries = [part.int() for part in rows]
    groups = [(len(part), part.shape[1] - 1) for part in rows]
    following = torch.cat([part[:, 1:].flatten() for part in entries])
    mask = (1 << TOKEN_BITS) - 1
    ids = torch.cat([part[:, :-1].flatten() for part in entries]) & mask
    targets, kinds = (following & mask).long(), following >> TOKEN_BITS
    rates = None
    if dropout:
        parts = [torch.full((n * length, 1), p, device=ids.device) for (n, length), p in zip(groups, dropout)]
        rates = torch.cat(parts)
    logits = model.logits(ids, groups, tables, rates=rates).float()
    nll = F.cross_entropy(logits, targets, reduction="none")
    counted = targets != PAD
    weight = torch.full_like(nll, weights[0])
    for kind in KINDS:
        weight = torch.where(kinds == kind, weights[kind], weight)
    weight = weight * counted
    sizes = [count * length for count, length in groups]
    sums = [part.sum() for part in (nll * counted).split(sizes)] + [(nll * (kinds == kind)).sum() for kind in KINDS]
    marks = [part.sum() for part in counted.split(sizes)] + [(kinds == kind).sum() for kind in KINDS]
    return (nll * weight).sum() / weight.sum(), torch.stack(sums).detach(), torch.stack(marks)


class Step:
    """`shapes`: (rows, length) of each group. Every optimiser group has its highest rate in "peak"; the rates are
    tensors, for a graph keeps no numbers of the host."""

    def __init__(self, model, optimizers, shapes, tables, weights, compiled, graph, dropout=None):
        self.model, self.optimizers, self.tables, self.weights = model, optimizers, tables, weights
        self.dropout = dropout
        self.device = tables[0].device.type
        self.rows = [torch.zeros(n, length + 1, dtype=torch.int16, device=self.device) for n, length in shapes]
        self.losses = torch.compile(losses, fullgraph=True) if compiled else losses
        self.totals = torch.zeros(2, len(shapes) + len(KINDS), device=self.device)
        self.parameters = list(model.parameters())
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["peak"], group["lr"] = group["lr"], torch.zeros((), device=self.device)
        self.graph = None
        self.wants_graph = graph and self.device == "cuda"
        self.events = []  # (begin, end) of the steps since the last report
        self.waited = 0.0  # seconds the host waited for the GPU

    def compute(self):
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda", cache_enabled=False):
            loss, sums, marks = self.losses(self.model, self.rows, self.tables, self.weights, self.dropout)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.totals += torch.stack([sums, marks])

    def load(self, rows, factor):
        for buffer, part in zip(self.rows, rows):
            buffer.copy_(part, non_blocking=True)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"].fill_(group["peak"] * factor)

    def prepare(self, rows):
        """Compiles, and records the graph, with steps of rate 0: no weight changes."""
        self.load(rows, 0.0)
        if self.device == "cpu":
            self.compute()
        else:
            side = torch.cuda.Stream()  # as capturing wants it
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    self.compute()
            torch.cuda.current_stream().wait_stream(side)
            torch.cuda.synchronize()
        if self.wants_graph:
            self.graph = self.recorded()
        self.totals.zero_()

    def recorded(self):
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self.compute()
        except RuntimeError as error:
            print(f"no CUDA graph, kernels are launched one by one: {error}", flush=True)
            self.model.zero_grad(set_to_none=True)
            return None
        return graph

    def run(self, rows, factor):
        """One step at `factor` times the peak rates."""
        if self.device == "cuda":
            self.wait_for_gpu()
            self.events.append(tuple(torch.cuda.Event(enable_timing=True) for _ in range(2)))
            self.events[-1][0].record()
        self.load(rows, factor)
        if self.graph:
            self.graph.replay()
        else:
            self.compute()
        if self.device == "cuda":
            self.events[-1][1].record()

    def wait_for_gpu(self):
        start = time.perf_counter()
        if len(self.events) >= AHEAD:
            self.events[-AHEAD][1].synchronize()
        self.waited += time.perf_counter() - start

    def report(self):
        """Since the last report: mean losses of the groups and kinds, milliseconds of the GPU a step (0 on a CPU)."""
        sums, marks = self.totals.tolist()
        self.totals.zero_()
        milliseconds = [begin.elapsed_time(end) for begin, end in self.events]
        self.events = []
        return [a / max(1, b) for a, b in zip(sums, marks)], sum(milliseconds) / max(1, len(milliseconds))
