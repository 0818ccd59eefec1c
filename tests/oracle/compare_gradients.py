"""Gradients of the loss with respect to K before rotation and V of every layer against PyTorch's autograd.

  compare_gradients.py KVX_GRADIENTS [--tokens 100] [--model FOLDER ...]

Models: the small random ones of compare_random_models.py, of every architecture, and stories260K where KVX_DATA has it; with --model
these Hugging Face folders alone. transformers computes in float32 and in float64 (its rotary table is still float32). A layer's error
is the greatest difference over the greatest magnitude of its float64 gradient, K and V each; the greatest of all is judged, and shown
beside the one of PyTorch's float32. Needs torch and transformers; exit code 77 without them, 1 where an error exceeds 1e-4 or a
loss differs by more than 1e-5.
"""
import argparse
import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    import transformers
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

import compare_random_models

LIMIT = 1e-4


def autograd(model, ids):
    """The loss, and per layer [dK, dV] as [tokens, kv heads * head dim]."""
    kept = []

    def hook(_module, _inputs, output):
        output.retain_grad()
        kept.append(output)

    handles = []
    for layer in model.model.layers:
        attention = layer.self_attn
        handles.append(getattr(attention, "k_norm", attention.k_proj).register_forward_hook(hook))
        handles.append(attention.v_proj.register_forward_hook(hook))
    tokens = torch.from_numpy(ids).unsqueeze(0)
    loss = torch.nn.functional.cross_entropy(model(tokens, use_cache=False).logits[0, :-1], tokens[0, 1:])
    loss.backward()
    for handle in handles:
        handle.remove()
    gradients = [tensor.grad.reshape(len(ids), -1).double().numpy() for tensor in kept]
    return loss.item(), [gradients[2 * i:2 * i + 2] for i in range(len(model.model.layers))]


def ours(program, folder, ids, layers, width):
    with tempfile.NamedTemporaryFile() as file:
        file.write(ids.astype("<i4").tobytes())
        file.flush()
        out = subprocess.run([program, folder, file.name], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    gradients = numpy.frombuffer(out, "<f4", offset=8).reshape(layers, 2, len(ids), width)[::-1]
    return numpy.frombuffer(out, "<f8", 1)[0], gradients.astype(numpy.float64)


def error(gradients, exact):
    return max(numpy.abs(a - b).max() / numpy.abs(b).max() for layer, right in zip(gradients, exact) for a, b in zip(layer, right))


def compare(program, model, folder, ids):
    _, theirs = autograd(model, ids)
    right_loss, exact = autograd(model.double(), ids)
    loss, gradients = ours(program, folder, ids, len(exact), exact[0][0].shape[1])
    return error(gradients, exact), error(theirs, exact), abs(loss - right_loss), right_loss


def random_models(program, ids):
    for name, config in compare_random_models.models(len(ids)):
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(1)
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
            compare_random_models.randomise(model)
            model.save_pretrained(folder)
            yield name, compare(program, model, folder, ids)


def folders(program, paths, tokens):
    for path in paths:
        model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        yield str(path), compare(program, model, path, token_ids(tokens, model.config.vocab_size))


def token_ids(count, vocab):
    return numpy.arange(count, dtype=numpy.int64) ** 2 * 37 % vocab


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--model", action="append", default=[])
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {args.tokens} tokens")
    stories = pathlib.Path(os.environ.get("KVX_DATA", "/nonexistent")) / "models/stories260K/hf"
    paths = args.model or ([stories] if stories.exists() else [])
    results = itertools.chain(
        [] if args.model else random_models(args.program, token_ids(args.tokens, compare_random_models.SHAPE["vocab_size"])),
        folders(args.program, paths, args.tokens))
    good = True
    for name, (mine, theirs, loss, right_loss) in results:
        good &= mine <= LIMIT and loss <= 1e-5
        print(f"{name}: greatest error {mine:.2e}, of torch in float32 {theirs:.2e}; loss {right_loss:.6f}, off by {loss:.1e}", flush=True)
    print(f"limit {LIMIT:.0e}: {'equal within it' if good else 'TOO LARGE'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
