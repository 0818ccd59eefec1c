#!/usr/bin/env python3
"""Trains small tokenizers of the families of which no checkpoint is at hand, on the demo text and the generated lines.

  train_tokenizers.py --tool build/release/tests/kvx_tokens      writes tests/inputs/tokenizers/

Needs tokenizers and sentencepiece. Training is not repeatable to the byte: after a run, store the ids anew (token_ids.py).
"""

import argparse
import io
import json
import struct
import subprocess
from collections import Counter
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = Path(__file__).resolve().parents[2]
INPUTS = ROOT / "tests" / "inputs" / "tokenizers"

# As Meta's and Qwen's tokenizer.json have them.
LLAMA3_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
QWEN2_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""


def generated_lines(tool: str) -> list[str]:
    data = subprocess.run([tool, "lines"], check=True, capture_output=True).stdout
    lines, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        lines.append(data[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return lines


def texts(lines: list[str]) -> list[str]:
    demo = (ROOT / "data" / "text" / "demo.txt").read_text(encoding="utf-8")
    return demo.split("\n") * 3 + [line for line in lines if len(line) < 10000]


def byte_level_bpe(vocab: int, split: str, normalizer, specials: list[str], lines: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), behavior="isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    # Special tokens are added behind the vocabulary, as in the families' files.
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(texts(lines), trainer)
    tokenizer.add_special_tokens(specials)
    return tokenizer


def llama3(lines: list[str]) -> Tokenizer:
    """Llama 3: digits by threes, whole pieces before merges, BOS by the template."""
    tokenizer = byte_level_bpe(1500, LLAMA3_SPLIT, None, ["<|begin_of_text|>", "<|end_of_text|>"], lines)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=True),
         processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[
             ("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))])])
    spec = json.loads(tokenizer.to_str())
    spec["model"]["ignore_merges"] = True
    # Tokens that no merge makes any more: only ignore_merges finds them.
    merges = spec["model"]["merges"]
    spec["model"]["merges"] = [m for i, m in enumerate(merges) if i % 7 != 3 or any("".join(m) in n for n in merges)]
    assert len(spec["model"]["merges"]) < len(merges)
    return Tokenizer.from_str(json.dumps(spec))


def qwen2(lines: list[str]) -> Tokenizer:
    """Qwen 2: form C, single digits, no BOS; an added token that is not special."""
    tokenizer = byte_level_bpe(1200, QWEN2_SPLIT, normalizers.NFC(), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], lines)
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False, special=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def added(lines: list[str]) -> Tokenizer:
    """Every flag of an added token, and digits as a step of their own."""
    tokenizer = byte_level_bpe(400, r"\s?\p{L}+", normalizers.Sequence([normalizers.NFC()]), ["<s>", "</s>"], lines)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=False), pre_tokenizers.Split("...", behavior="isolated"),
         pre_tokenizers.Split(Regex(r"^\p{L}|[aeo]$|(?<=t)h|\d\d"), behavior="isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.add_tokens([
        AddedToken("<mark>", lstrip=True, normalized=False),
        AddedToken("<sep>", rstrip=True, normalized=False),
        AddedToken("<pad>", lstrip=True, rstrip=True, normalized=True),
        AddedToken("the", single_word=True, normalized=False),
        AddedToken("In", single_word=True, lstrip=True, normalized=True),
        AddedToken("e\u0301t", normalized=True),
        AddedToken("<|", normalized=False),
    ])
    tokenizer.add_special_tokens([AddedToken("<|im_start|>", rstrip=True, normalized=False, special=True)])
    return tokenizer


def sentencepieces(path: Path, lines: list[str], **options) -> Path:
    """path.model: a sentencepiece model of these texts."""
    # Without line breaks, which end a text of the trainer, and the rare characters, which it would all make pieces.
    corpus = texts(lines)
    common = {c for c, _ in Counter("".join(corpus)).most_common(600)} - set("\0\n\r")
    corpus = ["".join(c if c in common else " " for c in text) for text in corpus]
    defaults = dict(vocab_size=1500, character_coverage=1.0, hard_vocab_limit=False, num_threads=1, minloglevel=2,
                    max_sentence_length=20000)
    model = io.BytesIO()  # a path would be written into the model
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(corpus), model_writer=model, **(defaults | options))
    file = path.with_suffix(".model")
    file.write_bytes(model.getvalue())
    return file


# Families by name: what the trainer is told.
SENTENCEPIECE = {
    # Kept beside the tests: without a normalisation table they are small.
    "unigram": dict(model_type="unigram", byte_fallback=True, normalization_rule_name="identity",
                    user_defined_symbols=["<sep>", "<mark>"], control_symbols=["<pad>"]),
    "bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity", split_digits=True,
                remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, user_defined_symbols=["[INST]"]),
    # Trained anew by token_ids.py.
    "unigram-nmt-nfkc": dict(model_type="unigram"),
    "unigram-nfkc-cf": dict(model_type="unigram", normalization_rule_name="nfkc_cf", byte_fallback=True, treat_whitespace_as_suffix=True),
    "bpe-nmt-nfkc": dict(model_type="bpe", user_defined_symbols=["<mark>", "..."], add_dummy_prefix=False),
    "bpe-nfkc": dict(model_type="bpe", normalization_rule_name="nfkc", byte_fallback=True, remove_extra_whitespaces=False),
    "char": dict(model_type="char", normalization_rule_name="nfkc"),
    "word": dict(model_type="word", normalization_rule_name="nfkc"),
}
KEPT = ("unigram", "bpe")
TOKENIZER_JSON = {"llama3": llama3, "qwen2": qwen2, "added": added}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tool", required=True)
    lines = generated_lines(parser.parse_args().tool)
    for name, train in TOKENIZER_JSON.items():
        folder = INPUTS / f"{name}-form"
        folder.mkdir(parents=True, exist_ok=True)
        train(lines).save(str(folder / "tokenizer.json"), pretty=False)
    for name in KEPT:
        folder = INPUTS / f"sentencepiece-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        sentencepieces(folder / "tokenizer", lines, **SENTENCEPIECE[name])
        (folder / "tokenizer.vocab").unlink()


if __name__ == "__main__":
    main()
