#!/usr/bin/env python3
"""Compares token ids of kvx_tokens with upstream's, id by id, on the generated lines and on WikiText-2.

  token_ids.py --tool build/release/tests/kvx_tokens [--store]

Upstream is `tokenizers` (byte-level BPE) and `sentencepiece`. Families: real files under KVX_DATA and KVX_MODELS, small ones in
tests/inputs/tokenizers, and sentencepiece models trained here. Upstream's hashes are also compared with those in token_ids.txt,
which the C++ tests compare ours with; --store writes that file. A hash is the SHA-256 of the ids of a block of lines as
little-endian int32, -1 after each line. Mode `special` matches texts of special tokens, `plain` does not.

Exit status 1 for any difference, 77 without the Python packages.

A GGUF file does not hold the steps before the merges: they are those that the families' published tokenizers take. (Transformers
would build the Qwen tokenizer of a GGUF file without its normaliser, and SmolLM2's without its digit step.)
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import gguf
    import numpy as np
    import sentencepiece
    import tokenizers
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    import train_tokenizers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

HERE = Path(__file__).resolve().parent
STORE = HERE / "token_ids.txt"
BLOCK = 500
LINES = 12000  # what follows are the long lines
# After sentencepiece 0.2.1 a unigram model's scores are summed with other roundings, so that near-ties fall otherwise. Ours, of
# the library of Debian 12, are those of 0.1.97 to 0.2.1: of these versions the ids are stored.
NEW_ROUNDING = tuple(map(int, sentencepiece.__version__.split(".")[:3])) > (0, 2, 1)


def gptq_text(raw: Path) -> str:
    rows = raw.read_bytes().decode("utf-8").split("\n")[:-1]
    return "\n\n".join(row + "\n" if row.strip() else "" for row in rows)


# --- Upstream -------------------------------------------------------------------------------------------------------

SPLITS = {
    "smollm": (None, [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]),
    "qwen2": (normalizers.NFC(), [pre_tokenizers.Split(Regex(train_tokenizers.QWEN2_SPLIT), behavior="isolated"),
                                  pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]),
}


def tokenizer_of_gguf(path: Path) -> Tokenizer:
    fields = gguf.GGUFReader(path).fields
    tokens, kinds, merges, pre = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges", "pre"))
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)},
                                     merges=[tuple(merge.split(" ", 1)) for merge in merges]))
    normalizer, steps = SPLITS[pre]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t, k in zip(tokens, kinds) if k == 3])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t, k in zip(tokens, kinds) if k == 4])
    return tokenizer


class ByteLevel:
    modes = ("special", "plain")
    rounding = False

    def __init__(self, tokenizer: Tokenizer):
        self.tokenizer = tokenizer

    def ids(self, line: str, mode: str) -> list[int]:
        self.tokenizer.encode_special_tokens = mode == "plain"
        return self.tokenizer.encode(line).ids


class SentencePiece:
    modes = ("plain",)

    def __init__(self, path: Path, unigram: bool):
        self.processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.rounding = unigram and NEW_ROUNDING

    def ids(self, line: str, mode: str) -> list[int]:
        return self.processor.encode(line, add_bos=self.processor.bos_id() >= 0)

    def same_score(self, a: list[int], b: list[int]) -> bool:
        """Whether these are segmentations of one text whose scores differ by roundings: an ulp of the sum for each choice."""
        sums = [sum(self.processor.get_score(i) for i in ids if not self.processor.is_byte(i)) for ids in (a, b)]
        return self.processor.decode(a) == self.processor.decode(b) and abs(sums[0] - sums[1]) <= 2**-23 * abs(sums[0]) * len(a)


def families(folder: Path, lines: list[str]):
    """(name, the path that kvx_tokens opens, upstream's tokenizer, whether its hashes are stored)"""
    models_folder, data = (Path(os.environ.get(name, "/nonexistent")) for name in ("KVX_MODELS", "KVX_DATA"))
    for name, file in [("smollm2", "smollm2-135m.gguf"), ("qwen2.5-coder-0.5b", "qwen2.5-coder-0.5b.gguf")]:
        path = models_folder / file
        if not path.exists():
            print(f"{name:32} absent: {file} in KVX_MODELS")
            continue
        tokenizer = tokenizer_of_gguf(path)
        yield name, path, ByteLevel(tokenizer), True
        saved = folder / f"{name}-json"
        saved.mkdir()
        tokenizer.save(str(saved / "tokenizer.json"))
        yield saved.name, saved, ByteLevel(Tokenizer.from_file(str(saved / "tokenizer.json"))), False
    for name, path in [("mistral-v1", data / "tokenizers" / "mistral-v1"), ("stories260K", data / "models" / "stories260K" / "hf")]:
        if not path.exists():
            print(f"{name:32} absent: {path.name} in KVX_DATA")
            continue
        yield name, path, SentencePiece(path / "tokenizer.model", unigram=False), True
    for path in sorted(path for path in train_tokenizers.INPUTS.iterdir() if path.is_dir()):
        if (path / "tokenizer.json").exists():
            yield path.name, path, ByteLevel(Tokenizer.from_file(str(path / "tokenizer.json"))), True
        else:
            yield path.name, path, SentencePiece(path / "tokenizer.model", "unigram" in path.name), True
    for name, options in train_tokenizers.SENTENCEPIECE.items():
        if name in train_tokenizers.KEPT:
            continue
        (folder / name).mkdir()
        model = train_tokenizers.sentencepieces(folder / name / "tokenizer", lines, **options)
        yield f"trained-{name}", folder / name, SentencePiece(model, "unigram" in name), False


# --- Comparison -----------------------------------------------------------------------------------------------------


def run(tool: str, *args) -> np.ndarray:
    out = subprocess.run([tool, *map(str, args)], check=True, capture_output=True).stdout
    return np.frombuffer(out, dtype="<i4")


def split_lines(stream: np.ndarray) -> list[np.ndarray]:
    out, at = [], 0
    while at < len(stream):
        out.append(stream[at + 1 : at + 1 + stream[at]])
        at += 1 + stream[at]
    return out


def digest(rows) -> str:
    return hashlib.sha256(b"".join(np.append(np.asarray(row, dtype="<i4"), np.int32(-1)).astype("<i4").tobytes() for row in rows)).hexdigest()


def blocks(count: int):
    for at in range(0, LINES, BLOCK):
        yield str(at // BLOCK), at, at + BLOCK
    yield "long", LINES, count


class Comparison:
    def __init__(self, tool: str, folder: Path):
        self.tool, self.folder = tool, folder
        self.rows: list[str] = []
        self.bad = 0

    def compare(self, name: str, mode: str, upstream, lines: list[str], ours: list[np.ndarray], theirs: list[list[int]]) -> None:
        assert len(ours) == len(theirs) == len(lines)
        wrong = [i for i, (a, b) in enumerate(zip(ours, theirs)) if not np.array_equal(a, b)]
        equal = len(lines) - len(wrong)
        if upstream.rounding:
            wrong = [i for i in wrong if not upstream.same_score(ours[i].tolist(), theirs[i])]
        self.bad += len(wrong)
        verdict = f"{len(wrong)} lines DIFFER" if wrong else "all equal"
        if equal + len(wrong) < len(lines):
            verdict += f" or of equal score ({len(lines) - equal - len(wrong)} lines)"
        print(f"{name:32} {mode:8} {len(theirs):6} lines {sum(map(len, theirs)):8} ids {verdict}", flush=True)
        for i in wrong[:3]:
            a, b = ours[i].tolist(), list(theirs[i])
            first = next((k for k, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
            print(f"  line {i}, id {first}: ours {a[first - 2 : first + 6]}, theirs {b[first - 2 : first + 6]} of {lines[i][:200]!r}")

    def family(self, name: str, path: Path, upstream, stored: bool, lines: list[str], wikitext: str | None) -> None:
        stored = stored and not upstream.rounding
        for mode in upstream.modes:
            special = [mode] if mode == "special" else []
            theirs = [upstream.ids(line, mode) for line in lines]
            self.compare(name, mode, upstream, lines, split_lines(run(self.tool, "ids", path, *special)), theirs)
            if stored:
                for label, begin, end in blocks(len(lines)):
                    part = theirs[begin:end]
                    self.rows.append(f"{name} {mode} {label} {sum(map(len, part))} {digest(part)}")
            if wikitext is not None:
                text = self.folder / "wikitext"
                text.write_bytes(wikitext.encode())
                theirs = [upstream.ids(wikitext, mode)]
                self.compare(f"{name} (WikiText-2)", mode, upstream, [wikitext], [run(self.tool, "text", path, text, *special)], theirs)
                if stored:
                    self.rows.append(f"{name} {mode} wikitext-2 {len(theirs[0])} {digest(theirs)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tool", required=True)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--family", help="only this one")
    args = parser.parse_args()
    if args.store and (NEW_ROUNDING or args.family is not None):
        parser.error("--store needs sentencepiece 0.2.1 or older and all families")
    versions = f"tokenizers {tokenizers.__version__}, sentencepiece {sentencepiece.__version__}"
    print(versions)
    lines = train_tokenizers.generated_lines(args.tool)
    raw = Path(os.environ.get("KVX_DATA", "/nonexistent")) / "wikitext2" / "wiki.test.raw"
    wikitext = gptq_text(raw) if raw.exists() else None
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(args.tool, Path(folder))
        text = [line.encode() for line in lines]
        for label, begin, end in blocks(len(lines)):
            joined = b"".join(t + b"\xff" for t in text[begin:end])
            comparison.rows.append(f"lines text {label} {sum(map(len, text[begin:end]))} {hashlib.sha256(joined).hexdigest()}")
        for name, path, upstream, stored in families(Path(folder), lines):
            if args.family in (None, name):
                comparison.family(name, path, upstream, stored, lines, wikitext)
    if args.store:
        heading = f"# Written by token_ids.py: upstream's ids, by {versions}.\n# family mode block ids sha256\n"
        STORE.write_text(heading + "".join(row + "\n" for row in comparison.rows))
    missing = set(comparison.rows) - set(STORE.read_text().splitlines())
    for row in sorted(missing)[:5]:
        print(f"not in {STORE.name}: {row}")
    print(f"{comparison.bad} lines differ from upstream, {len(missing)} of {len(comparison.rows)} hashes from {STORE.name}")
    return 1 if comparison.bad or missing else 0


if __name__ == "__main__":
    sys.exit(main())
