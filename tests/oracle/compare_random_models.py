"""Small random models of every architecture against Hugging Face transformers in float32.

  compare_random_models.py KVX_LOGITS [--tokens 100]

transformers makes each model from a configuration and a seed, and saves it (config.json in its newest spelling, safetensors in
shards); both sides compute the logits of the same tokens. This covers what no real model at hand has: normalised q and k, scaled
rotary frequencies, biases of the output projection, a window as long as the text. The distances of both to the same model in float64
(its rotary table still float32) show how much of a difference is rounding. Needs torch and transformers. Exit code 1 where a
logit differs by more than 1e-4.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
import transformers

LIMIT = 1e-4
SHAPE = dict(hidden_size=96, intermediate_size=136, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=2, vocab_size=300,
             max_position_embeddings=512, initializer_range=0.2)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64, rope_theta=500000.0)
LINEAR = dict(rope_type="linear", factor=4.0, rope_theta=10000.0)


def models(tokens):
    yield "Llama", transformers.LlamaConfig(**SHAPE)
    yield "Llama, llama3 scaling, tied", transformers.LlamaConfig(**SHAPE, rope_parameters=LLAMA3, tie_word_embeddings=True)
    yield "Llama, linear scaling", transformers.LlamaConfig(**SHAPE, rope_parameters=LINEAR)
    yield "Llama, biases, head_dim 32", transformers.LlamaConfig(**SHAPE, attention_bias=True, head_dim=32)
    yield "Mistral", transformers.MistralConfig(**SHAPE, sliding_window=None)
    yield "Mistral, window as long as the text", transformers.MistralConfig(**SHAPE, sliding_window=tokens)
    yield "Qwen2", transformers.Qwen2Config(**SHAPE)
    yield "Qwen2, window in one layer, as long as the text", transformers.Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=tokens, max_window_layers=2)
    yield "Qwen3, head_dim 32", transformers.Qwen3Config(**SHAPE, head_dim=32)
    yield "Qwen3, biases, tied, head_dim 48", transformers.Qwen3Config(**SHAPE, head_dim=48, attention_bias=True, tie_word_embeddings=True)


def randomise(model):
    """Biases and norms are 0 and 1 when made: give them values that show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + (0 if name.endswith("bias") else 1))


def difference(program, config, ids, folder):
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    randomise(model)
    model.save_pretrained(folder, max_shard_size="200KB")
    with torch.no_grad():
        tokens = torch.from_numpy(ids).unsqueeze(0)
        theirs = model(tokens).logits[0].numpy()
        exact = model.double()(tokens).logits[0].numpy()
    ids.astype("<i4").tofile(folder / "ids")
    out = subprocess.run([program, folder, folder / "ids"], check=True, stdout=subprocess.PIPE).stdout
    ours = numpy.frombuffer(out, "<f4").reshape(theirs.shape)
    return [numpy.abs(a - b).max() for a, b in ((ours, theirs), (ours, exact), (theirs, exact))] + [numpy.abs(theirs).max()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--tokens", type=int, default=100)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, float32, {args.tokens} tokens")
    ids = numpy.arange(args.tokens, dtype=numpy.int64) ** 2 * 37 % SHAPE["vocab_size"]
    worst = 0
    for name, config in models(args.tokens):
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            largest, ours, theirs, scale = difference(args.program, config, ids, folder)
            shards = len(set(json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"].values()))
        print(f"{name} ({shards} shards): greatest difference {largest:.2e} of logits up to {scale:.1f}; "
              f"to float64: ours {ours:.2e}, theirs {theirs:.2e}", flush=True)
        worst = max(worst, largest)
    print(f"greatest of all {worst:.2e}, limit {LIMIT:.0e}: {'equal within it' if worst <= LIMIT else 'TOO LARGE'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
