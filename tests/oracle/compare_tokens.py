#!/usr/bin/env python3
"""Compares token ids of kvx_tokens with those of Hugging Face and sentencepiece, on WikiText-2 and on generated text.

  compare_tokens.py --tool build/release/tests/kvx_tokens --gguf smollm2-135m.gguf --data DATA

DATA is the evaluation data folder (wikitext2/wiki.test.raw, tokenizers/, models/). Needs numpy, transformers, gguf and
sentencepiece. Exit status 1 if any id differs. The output of the last run lies beside this file.

Transformers builds a tokenizer from a GGUF file of architecture `llama` with a plain byte-level pre-tokenizer and does
not look at `tokenizer.ggml.pre`; SmolLM2's own (`smollm`) also makes every digit a piece of its own. So there are three
comparisons with the same vocabulary and merges: the GGUF file read by both, with that digit step put in front in
transformers; that tokenizer saved as tokenizer.json; and what transformers makes of the file unaided, saved as
tokenizer.json, where both leave the digit step out.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

import gguf
import numpy as np
import sentencepiece
import tokenizers
import transformers
from tokenizers import pre_tokenizers

GPTQ_SHA256 = "696cca6b65a171b0a358a4be6732cdfdf2dd6164a32e20fd70e3c13fc4dfae83"


def gptq_text(raw: Path) -> str:
    rows = raw.read_bytes().decode("utf-8").split("\n")[:-1]
    text = "\n\n".join(row + "\n" if row.strip() else "" for row in rows)
    assert hashlib.sha256(text.encode()).hexdigest() == GPTQ_SHA256, "not the GPTQ text of WikiText-2"
    return text


def generated_text(seed: int) -> str:
    """Every assigned code point of Unicode 14 in random runs, between digits, space runs, contractions, emoji, code."""
    assert unicodedata.unidata_version.startswith("14."), "written for a Python with Unicode 14 tables"
    rng = random.Random(seed)
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    spaces = [c for c in assigned if c.isspace()] + ["\u180e", "\u200b", "\ufeff"]
    words = ["don't", "I'LL", "we've", "naïve", "Straße", "привет", "мир", "مرحبا", "שלום", "नमस्ते", "你好", "世界",
             "こんにちは", "한국어", "ไทย", "ქართული", "፲፪", "٣٤٥", "½", "Ⅻ", "x²", "e\u0301a\u0308", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "👍🏽", "❤️"]
    code = ["for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i];\n}", "def f(x):\n    return x ** 2  # 3.14e-10\n",
            "<div class=\"a\">&amp;</div>", "SELECT * FROM t WHERE a!='x''y';", "\\s+(?!\\S)|\\p{N}", "a_b__c---d...e"]
    out = []
    for _ in range(20000):
        kind = rng.randrange(8)
        if kind == 0:
            out.append("".join(rng.choices(spaces, k=rng.randrange(1, 6))))
        elif kind == 1:
            out.append(" " * rng.randrange(1, 40))
        elif kind == 2:
            out.append("".join(rng.choices("0123456789", k=rng.randrange(1, 20))))
        elif kind == 3:
            out.append(rng.choice(code))
        elif kind == 4:
            out.append("".join(rng.choices(assigned, k=rng.randrange(1, 8))))
        elif kind == 5:
            out.append("".join(chr(rng.randrange(0x20)) for _ in range(rng.randrange(1, 4))))
        else:
            out.append(rng.choice(words) + rng.choice(["", " ", ", ", "'s ", "\n\n", "\r\n", "\t"]))
    rng.shuffle(assigned)
    return "".join(out) + "".join(assigned) + "a" * 5000 + " " * 5000 + "\n" * 5000 + "1" * 5000


def with_special_tokens(text: str, seed: int, tokens: list[str]) -> str:
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(len(text)), 2000))
    pieces = [text[a:b] + rng.choice(tokens) + rng.choice(["", " ", "<|", "\n"]) for a, b in zip([0] + cuts, cuts)]
    return "".join(pieces)


class Comparison:
    def __init__(self, tool: str):
        self.tool = tool
        self.bad = 0

    def ours(self, model: Path, text: str, special: bool) -> np.ndarray:
        with tempfile.NamedTemporaryFile() as file:
            file.write(text.encode())
            file.flush()
            out = subprocess.run([self.tool, str(model), file.name] + (["special"] if special else []),
                                 check=True, capture_output=True).stdout
        return np.frombuffer(out, dtype="<i4")

    def compare(self, label: str, name: str, model: Path, text: str, theirs, special: bool):
        ours = self.ours(model, text, special)
        theirs = np.asarray(theirs, dtype="<i4")
        equal = ours.shape == theirs.shape and bool((ours == theirs).all())
        self.bad += not equal
        print(f"{label:38} {name:12} N={len(ours):8} sha256={hashlib.sha256(ours.tobytes()).hexdigest()} "
              f"{'all ids equal' if equal else f'DIFFERENT (theirs: N={len(theirs)})'}")
        if not equal:
            n = min(len(ours), len(theirs))
            first = int(np.argmax(ours[:n] != theirs[:n])) if (ours[:n] != theirs[:n]).any() else n
            print(f"  first difference at {first}: ours {ours[first - 3:first + 8]}, theirs {theirs[first - 3:first + 8]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tool", required=True)
    parser.add_argument("--gguf", required=True, type=Path)
    parser.add_argument("--data", required=True, type=Path)
    args = parser.parse_args()
    print(f"transformers {transformers.__version__}, tokenizers {tokenizers.__version__}, "
          f"sentencepiece {sentencepiece.__version__}")
    print(f"{args.gguf.name} sha256 {hashlib.sha256(args.gguf.read_bytes()).hexdigest()}")

    wikitext = gptq_text(args.data / "wikitext2" / "wiki.test.raw")
    generated = generated_text(1)
    plain = {"wikitext-2": wikitext, "generated": generated}
    comparison = Comparison(args.tool)

    kinds = gguf.GGUFReader(args.gguf).fields["tokenizer.ggml.token_type"].contents()
    with tempfile.TemporaryDirectory() as folder:
        # (label, the digit step, our model)
        unaided, smollm = Path(folder) / "unaided", Path(folder) / "smollm"
        for label, digits, save, model in [
            ("GGUF", True, None, args.gguf),
            ("tokenizer.json with the digit step", True, smollm, smollm),
            ("tokenizer.json without it", False, unaided, unaided),
        ]:
            tokenizer = transformers.AutoTokenizer.from_pretrained(args.gguf.parent, gguf_file=args.gguf.name)
            backend = tokenizer.backend_tokenizer
            if digits:
                byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
                backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
            if save is not None:
                save.mkdir()
                backend.save(str(save / "tokenizer.json"))
            special = [tokenizer.convert_ids_to_tokens(i) for i, kind in enumerate(kinds) if kind == 3]
            missing = set(special) - set(tokenizer.all_special_tokens) - set(tokenizer.get_added_vocab())
            assert not missing, f"transformers does not treat as special: {missing}"
            for name, text in plain.items():
                theirs = tokenizer(text, split_special_tokens=True)["input_ids"]
                comparison.compare(label, name, model, text, theirs, special=False)
            text = with_special_tokens(generated, 2, special)
            comparison.compare(label, "special", model, text, tokenizer(text)["input_ids"], special=True)
            theirs = tokenizer(text, split_special_tokens=True)["input_ids"]
            comparison.compare(label, "special off", model, text, theirs, special=False)

    for label, folder in [("sentencepiece mistral-v1", args.data / "tokenizers" / "mistral-v1"),
                          ("sentencepiece stories260K tok512", args.data / "models" / "stories260K" / "hf")]:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        for name, text in plain.items():
            comparison.compare(label, name, folder, text, processor.encode(text, add_bos=True), special=False)
    return 1 if comparison.bad else 0


if __name__ == "__main__":
    sys.exit(main())
