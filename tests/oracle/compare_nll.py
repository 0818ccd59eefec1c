"""Per-window negative log-likelihood of an unquantised run against Hugging Face transformers in float32.

  compare_nll.py MODEL.gguf wiki.test.raw RUN_FOLDER [--length 2048] [--windows 8]

RUN_FOLDER is what `kvx eval --task ppl --format wikitext-raw` wrote; its fp:f32 rows are compared. Both sides read the same file:
transformers dequantises the same GGUF. Its tokenizer gets SmolLM2's digit step, which transformers leaves out when it reads a GGUF
file (token_ids.py says more). Needs torch, transformers, accelerate, gguf. Exit code 1 if a window differs by more than 1e-3.
"""
import argparse
import json
import pathlib
import sys

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

LIMIT = 1e-3


def gptq_text(raw_file):
    rows = raw_file.read_text(encoding="utf-8").split("\n")[:-1]
    return "\n\n".join("" if not row.strip() else row + "\n" for row in rows)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--windows", type=int, default=8)
    args = parser.parse_args()

    ours = {}
    for line in (args.run / "results.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["scheme"].split(":")[1] == "f32":
            ours[record["window"]] = record["nll_mean"]["value"]

    where = dict(gguf_file=args.model.name)
    tokenizer = AutoTokenizer.from_pretrained(args.model.parent, **where)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    ids = tokenizer(gptq_text(args.text), return_tensors="pt").input_ids[0]
    model = AutoModelForCausalLM.from_pretrained(args.model.parent, dtype=torch.float32, **where).eval()
    worst = 0.0
    print(f"tokens {len(ids)}, windows of {args.length}")
    for window in range(args.windows):
        tokens = ids[window * args.length:(window + 1) * args.length].unsqueeze(0)
        with torch.no_grad():
            logits = model(tokens).logits[0].double()
        nll = torch.nn.functional.cross_entropy(logits[:-1], tokens[0, 1:]).item()
        difference = ours[window] - nll
        worst = max(worst, abs(difference))
        print(f"window {window}: transformers {nll:.9f}  kvx {ours[window]:.9f}  difference {difference:+.2e}", flush=True)
    print(f"largest difference {worst:.2e}, limit {LIMIT:.0e}: {'equal within it' if worst <= LIMIT else 'TOO LARGE'}")
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
