"""The network: Llama (RMSNorm, rotary positions, grouped queries, SwiGLU, tied embedding), with the parameter names of
Hugging Face's LlamaForCausalLM, so that a state dict is a checkpoint."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass
class Config:
    vocab: int = 4096
    hidden: int = 256
    layers: int = 8
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    inner: int = 832
    context: int = 4096
    rope_base: float = 100000.0
    eps: float = 1e-5


def dropped(x, rates):
    """x with elements left out at random. `rates`: [tokens, 1], of each token, or None."""
    if rates is None:
        return x
    return x * ((torch.rand_like(x, dtype=torch.float32) >= rates) / (1 - rates)).to(x.dtype)


class Norm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return (wide * self.weight).to(x.dtype)


def rotary_tables(config, length, device):
    """cos and sin, [length, head_dim]; channel i turns with channel i + head_dim / 2."""
    channels = torch.arange(0, config.head_dim, 2, device=device, dtype=torch.float64)
    rates = config.rope_base ** (-channels / config.head_dim)
    angles = torch.arange(length, device=device, dtype=torch.float64)[:, None] * rates
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos().float(), angles.sin().float()


def rotate(x, cos, sin):
    """x: [rows, heads, length, head_dim]"""
    low, high = x.float().chunk(2, dim=-1)
    turned = torch.cat([-high, low], dim=-1)
    return (x.float() * cos + turned * sin).to(x.dtype)


def joined(x, *projections):
    """What each projection gives, by one matrix product: x and its gradient are read once."""
    weights = [projection.weight for projection in projections]
    return F.linear(x, torch.cat(weights)).split([len(weight) for weight in weights], dim=-1)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        width, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden, width, bias=False)
        self.k_proj = nn.Linear(config.hidden, kv, bias=False)
        self.v_proj = nn.Linear(config.hidden, kv, bias=False)
        self.o_proj = nn.Linear(width, config.hidden, bias=False)

    def forward(self, x, groups, tables, coder):
        """x: [tokens, hidden]; `groups`: (rows, length) of sequences that follow each other in x.
        `coder` stands between K, V ([rows, kv heads, length, head dim], K rotated) and their readers."""
        sizes = [rows * length for rows, length in groups]
        projected = joined(x, self.q_proj, self.k_proj, self.v_proj)
        parts = (part.split(sizes) for part in projected)
        out = []
        for (rows, length), q, k, v in zip(groups, *parts):
            cos, sin = (table[:length] for table in tables)
            queries = rotate(self.heads(q, rows, length), cos, sin)
            keys, values = rotate(self.heads(k, rows, length), cos, sin), self.heads(v, rows, length)
            if coder is not None:
                keys, values = coder(keys, values)
            share = self.config.heads // self.config.kv_heads
            keys, values = (t.repeat_interleave(share, dim=1) for t in (keys, values))
            read = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            out.append(read.transpose(1, 2).reshape(rows * length, -1))
        return self.o_proj(torch.cat(out))

    def heads(self, x, rows, length):
        """[rows * length, heads * head_dim] as [rows, heads, length, head_dim]"""
        return x.unflatten(0, (rows, length)).unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2)


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden, config.inner, bias=False)
        self.up_proj = nn.Linear(config.hidden, config.inner, bias=False)
        self.down_proj = nn.Linear(config.inner, config.hidden, bias=False)

    def forward(self, x):
        gate, up = joined(x, self.gate_proj, self.up_proj)
        return self.down_proj(F.silu(gate) * up)


class Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = Norm(config.hidden, config.eps)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = Norm(config.hidden, config.eps)
        self.mlp = Mlp(config)

    def forward(self, x, groups, tables, coder, rates):
        x = x + dropped(self.self_attn(self.input_layernorm(x), groups, tables, coder), rates)
        return x + dropped(self.mlp(self.post_attention_layernorm(x)), rates)


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.hidden)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = Norm(config.hidden, config.eps)


class Llama(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(parameter, std=0.02 / ((2 * config.layers) ** 0.5 if residual else 1))

    def hidden(self, ids, groups, tables, coder=None, rates=None):
        x = dropped(self.model.embed_tokens(ids), rates)
        for layer in self.model.layers:
            x = layer(x, groups, tables, coder, rates)
        return self.model.norm(x)

    def logits(self, ids, groups, tables, coder=None, rates=None):
        """ids: [tokens]; returns [tokens, vocab]"""
        return F.linear(self.hidden(ids, groups, tables, coder, rates), self.model.embed_tokens.weight)
