"""Tokenises the books: prepare.py BOOKS MODEL_FOLDER OUT

Of each split OUT gets SPLIT.prose.npy, the books as they are, BOS in front of each, and for haystacks
SPLIT.sentences.npy, their sentences with white space squeezed and a blank in front of each, with
SPLIT.offsets.npy, where each sentence begins (one more entry than sentences). Ids are uint16. Split `held` is the
books of valid and test, whose authors do not occur in train.
"""

import glob
import multiprocessing
import os
import re
import sys

import numpy as np

import tokenizer

# A sentence ends after a run of .!?, closing quotes and brackets included, that white space follows.
SENTENCE_END = re.compile(r"(?<=[.!?])([\"')\]’”]*) ")
LONGEST_SENTENCE = 200  # tokens; verse and lists without full stops are left out of haystacks


def split_sentences(text):
    return SENTENCE_END.sub(r"\1\n", " ".join(text.split())).split("\n")


def load_tokenizer(folder):
    global sp
    sp = tokenizer.load(folder)


def tokenise(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    prose = np.array([tokenizer.BOS] + sp.encode(text), dtype=np.uint16)
    sentences = sp.encode([" " + sentence for sentence in split_sentences(text)])
    sentences = [np.array(s, dtype=np.uint16) for s in sentences if len(s) <= LONGEST_SENTENCE]
    return len(text.encode()), prose, sentences


def main():
    books, folder, out = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    splits = {"train": ["train"], "held": ["test", "valid"]}
    with multiprocessing.Pool(initializer=load_tokenizer, initargs=(folder,)) as pool:
        for name, parts in splits.items():
            paths = [p for part in parts for p in sorted(glob.glob(f"{books}/{part}/*.txt"))]
            if not paths:
                sys.exit(f"{books}: no books of {parts}")
            sizes, prose, sentences = zip(*pool.map(tokenise, paths, chunksize=1))
            sentences = [sentence for book in sentences for sentence in book]
            offsets = np.cumsum([0] + [len(s) for s in sentences], dtype=np.int64)
            np.save(f"{out}/{name}.prose.npy", np.concatenate(prose))
            np.save(f"{out}/{name}.sentences.npy", np.concatenate(sentences))
            np.save(f"{out}/{name}.offsets.npy", offsets)
            tokens = sum(map(len, prose))
            print(
                f"{name}: {len(paths)} books, {sum(sizes)} bytes, {tokens} tokens, "
                f"{sum(sizes) / tokens:.3f} bytes a token, {len(sentences)} sentences",
                flush=True,
            )


if __name__ == "__main__":
    main()
