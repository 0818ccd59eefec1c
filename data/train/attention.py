"""Which of PyTorch's fused attentions is the faster one here, by measurement."""

import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
REPEATS = 5


def measure(backend, shapes, heads, head_dim):
    """(milliseconds of forward and backward over all shapes, the gradient of the queries of the first)"""
    total, gradient = 0.0, None
    for rows, length in shapes:
        generator = torch.Generator("cuda").manual_seed(1)
        made = (
            torch.randn(rows, length, heads, head_dim, device="cuda", dtype=torch.bfloat16, generator=generator)
            for _ in range(3)
        )
        inputs = [t.transpose(1, 2).requires_grad_() for t in made]
        with sdpa_kernel(backend):
            for repeat in range(REPEATS + 2):
                if repeat == 2:
                    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                    begin.record()
                out = F.scaled_dot_product_attention(*inputs, is_causal=True)
                found = torch.autograd.grad(out, inputs, out.detach())
            end.record()
        torch.cuda.synchronize()
        total += begin.elapsed_time(end) / REPEATS
        gradient = found[0] if gradient is None else gradient
    return total, gradient.float()


def choose(wanted, shapes, config):
    """Enables one backend, `wanted` or, for "auto", cuDNN's if it runs, agrees with flash and is faster."""
    if wanted == "auto":
        times, gradients = {}, {}
        for name, backend in BACKENDS.items():
            try:
                times[name], gradients[name] = measure(backend, shapes, config.heads, config.head_dim)
            except RuntimeError as error:
                print(f"attention {name}: {str(error).splitlines()[0]}", flush=True)
        if len(times) == 2:
            error = (gradients["cudnn"] - gradients["flash"]).norm() / gradients["flash"].norm()
            print(f"attention of a layer: {times} ms, gradients differ by {error:.1e}", flush=True)
            if not error < 2e-2:
                del times["cudnn"]
        wanted = min(times, key=times.get, default="flash")
    print(f"attention: {wanted}", flush=True)
    torch.backends.cuda.enable_flash_sdp(wanted == "flash")
    torch.backends.cuda.enable_cudnn_sdp(wanted == "cudnn")
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_math_sdp(False)
