"""Logits of whole models against Hugging Face transformers in float32.

  compare_logits.py KVX_LOGITS TEXT MODEL... [--tokens 512]

A MODEL is a GGUF file or a Hugging Face folder. Both sides read the same file (transformers dequantises a GGUF) and the same token ids:
the first of TEXT, by the tokenizer that transformers makes of the model. Prints the greatest absolute difference of a logit and at how many positions the most probable token
is the same. Needs torch, transformers, accelerate, gguf, safetensors. Exit code 1 where a logit differs by more than 2e-3 or an argmax differs.
"""
import argparse
import importlib.metadata
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy
import safetensors
import torch
import transformers

LIMIT = 2e-3


def our_logits(program, model, ids):
    with tempfile.NamedTemporaryFile() as file:
        ids.astype("<i4").tofile(file)
        file.flush()
        out = subprocess.run([program, model, file.name], check=True, stdout=subprocess.PIPE).stdout
    return numpy.frombuffer(out, "<f4").reshape(len(ids), -1)


def source(model):
    """What from_pretrained wants to hear of a file or a folder."""
    return {"pretrained_model_name_or_path": model} if model.is_dir() else {
        "pretrained_model_name_or_path": model.parent, "gguf_file": model.name}


def weight_types(model):
    if not model.is_dir():
        return sorted({tensor.tensor_type.name for tensor in gguf.GGUFReader(model).tensors})
    found = set()
    for path in model.glob("*.safetensors"):
        with safetensors.safe_open(path, "pt") as file:
            found |= {file.get_slice(name).get_dtype() for name in file.keys()}
    return sorted(found)


def their_logits(model, ids):
    loaded = transformers.AutoModelForCausalLM.from_pretrained(**source(model), dtype=torch.float32).eval()
    with torch.no_grad():
        return loaded(torch.from_numpy(ids).unsqueeze(0)).logits[0].numpy()


def compare(program, model, text, count):
    tokenizer = transformers.AutoTokenizer.from_pretrained(**source(model))
    ids = numpy.array(tokenizer(text, add_special_tokens=False).input_ids[:count])
    if len(ids) != count:
        sys.exit(f"{model.name}: the text has {len(ids)} tokens, {count} are needed")
    theirs = their_logits(model, ids)
    ours = our_logits(program, model, ids)
    difference = numpy.abs(ours - theirs)
    same = int((ours.argmax(1) == theirs.argmax(1)).sum())
    print(f"{model.name} ({', '.join(weight_types(model))}): {count} tokens, {ours.shape[1]} logits each, up to {numpy.abs(theirs).max():.1f}")
    print(f"  greatest difference {difference.max():.2e} (position {difference.max(1).argmax()}), rms {numpy.sqrt((difference ** 2).mean()):.2e}, "
          f"limit {LIMIT:.0e}; same most probable token at {same} of {count} positions", flush=True)
    return difference.max() <= LIMIT and same == count


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--tokens", type=int, default=512)
    args = parser.parse_args()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, gguf {importlib.metadata.version('gguf')}, float32; {args.text.name}")
    text = args.text.read_text(encoding="utf-8")
    good = [compare(args.program, model, text, args.tokens) for model in args.models]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
