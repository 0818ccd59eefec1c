"""Trains the model's sentencepiece tokenizer: tokenizer.py BOOKS MODEL_FOLDER

4096 pieces of BPE with byte fallback; digits apart; text as it is (no normalisation, no blank in front); the line feed
is a piece of its own. Trained on a sample of the train split's prose and on documents of the generators.
"""

import glob
import os
import random
import sys

import sentencepiece

import problems
import words
from needle import PASSKEY_TASK, header, needle_text, question

PIECES = 4096
PROSE_CHARACTERS = 24_000_000
DOCUMENTS = 4_000
BOS = 1


def load(folder):
    path = os.path.join(folder, "tokenizer.model")
    if not os.path.exists(path):
        sys.exit(f"{path}: no such file; tokenizer.py makes it")
    return sentencepiece.SentencePieceProcessor(model_file=path)


def prose_lines(books, rng):
    """Paragraphs of every train book, as many characters of each as of the others."""
    paths = sorted(glob.glob(os.path.join(books, "train", "*.txt")))
    if not paths:
        sys.exit(f"{books}/train: holds no .txt file")
    share = PROSE_CHARACTERS // len(paths)
    for path in paths:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        begin = rng.randrange(max(1, len(text) - share))
        yield from text[begin : begin + share].split("\n")


def document_lines(rng):
    vocabulary = words.training_words()
    maker = problems.ProblemMaker(
        words.read_json(os.path.join(words.TASKS, "arith.json")), vocabulary, held_out=False
    )
    for _ in range(DOCUMENTS):
        one = rng.random() < 0.5
        keys = vocabulary.keys(rng, 1 if one else rng.randint(1, 4))
        lines = [header(one), needle_text(keys[0], "1"), question(keys, one), PASSKEY_TASK]
        yield from lines
        yield from maker.shot(rng).split("\n")


def main():
    books, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    rng = random.Random(1)
    lines = [line for source in (prose_lines(books, rng), document_lines(rng)) for line in source]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(line for line in lines if line),
        model_prefix=os.path.join(folder, "tokenizer"),
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        user_defined_symbols=["\n"],
        character_coverage=0.9995,
        max_sentence_length=100_000,
        shuffle_input_sentence=False,
        num_threads=2,
        minloglevel=1,
    )
    os.remove(os.path.join(folder, "tokenizer.vocab"))


if __name__ == "__main__":
    main()
