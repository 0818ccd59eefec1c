"""Muon (K. Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"): momentum whose matrix is
made nearly orthogonal by a Newton-Schulz iteration, matrices of one shape together."""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic, from the text above
ITERATIONS = 5


def orthogonal(x):
    """x: [count, rows, columns] bfloat16; each matrix U S V^T becomes about U V^T."""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum; the rate is matched to AdamW's (J. Liu et al. 2025, arXiv 2502.16982, section 2.2): an update
    has a root mean square of 0.2. `lr` may be a tensor, so that a CUDA graph can hold a step."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.1):
        shapes = {}
        for parameter in params:
            shapes.setdefault(parameter.shape, []).append(parameter)
        groups = [{"params": same} for same in shapes.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            parameters, momentum = group["params"], group["momentum"]
            state = self.state[parameters[0]]
            gradient = torch.stack([parameter.grad for parameter in parameters])
            if not state:
                state["momentum"] = torch.zeros_like(gradient)
            state["momentum"].lerp_(gradient, 1 - momentum)
            update = orthogonal(gradient.lerp(state["momentum"], momentum).bfloat16()).float()
            rate = group["lr"] * (0.2 * max(update.shape[1:]) ** 0.5)
            keep = 1 - group["lr"] * group["weight_decay"]
            torch._foreach_mul_(parameters, keep)
            torch._foreach_sub_(parameters, list((update * rate).unbind()))
