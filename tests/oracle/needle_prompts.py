#!/usr/bin/env python3
"""Makes prompts of the task `needle` again, from eval/tasks/needle.md and data/ alone: needle_prompts.txt.

  needle_prompts.py REPOSITORY $KVX_DATA/tokenizers/mistral-v1/tokenizer.model > needle_prompts.txt

A line per sample: tokenizer, id, tokens with BOS and new tokens, SHA-256 of the prompt. Tokenizer `bytes` counts bytes;
`sentencepiece` is the given file, and left out without one. Seed 5, haystack data/text/demo.txt.
"""

import hashlib
import json
import random
import re
import sys

DEPTHS = [round(100 * i / 39) for i in range(40)]
TASK = (
    "Some special magic numbers are hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the numbers afterwards.\n"
)
END = (
    "\nWhat are all the special magic numbers for {0} mentioned in the provided text? "
    "The special magic numbers for {0} mentioned in the provided text are"
)
PASSKEY = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there."
)
FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "


def sentences(text):
    marked = re.sub("([.!?][\"')\\]}\u2019\u201d\u00bb]*)(?= |$)", "\\1\x00", " ".join(text.split()))
    return re.split("(?<=\x00) ", marked)


def first_words(parts, first, n):
    out = []
    while n > 0:
        words = parts[first % len(parts)].replace("\x00", "").split(" ")
        out.append(" ".join(words[:n]))
        n -= len(words)
        first += 1
    return out


def singular(text):
    return text.replace("Some", "A").replace("are all", "is").replace("are", "is").replace("numbers", "number")


def prose(draw, words, parts, kind, depth):
    many = int(re.sub("[a-z]+", "", kind) or 1)
    first = draw.randrange(len(parts))
    pairs = [f"{a}-{n}" for a in words["adjectives"] for n in words["nouns"]]
    keys = [pairs[i] for i in draw.sample(range(len(pairs)), 1 if "value" in kind else many)]
    values = [str(10**6 + i) for i in draw.sample(range(9 * 10**6), many)]
    rest = [d for d in DEPTHS if d != depth]
    depths = [depth] + [rest[i] for i in draw.sample(range(len(rest)), many - 1)]
    asked = keys if "query" in kind else keys[:1]
    plural = "value" in kind or "query" in kind
    task, end = TASK, END
    if not plural:
        task, end = singular(task), singular(end)
    query = ", ".join(asked[:-1]) + ", and " + asked[-1] if len(asked) > 1 else asked[0]

    def prompt(n):
        text = first_words(parts, first, n)
        places = sorted((len(text) * d // 100, i) for i, d in enumerate(depths))
        for place, i in reversed(places):
            text.insert(place, f"One of the special magic numbers for {keys[i % len(keys)]} is: {values[i]}.")
        return task + " ".join(text) + end.format(query)

    return prompt


def passkey(draw, depth):
    key = 1 + draw.randrange(49999)
    filler = FILLER * 3000

    def prompt(n):
        p = n * depth // 100
        information = f"The pass key is {key}. Remember it. {key} is the pass key."
        return "\n".join([PASSKEY, filler[:p], information, filler[: n - p], "What is the pass key? The pass key is"])

    return prompt


def largest(fits, most):
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def main(root, model=None):
    with open(root + "/data/text/demo.txt", encoding="utf-8") as file:
        parts = sentences(file.read())
    with open(root + "/data/tasks/needle_words.json", encoding="utf-8") as file:
        words = json.load(file)
    counts = {"bytes": (lambda text: len(text.encode()), [1500, 90000])}
    if model:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=model)
        counts["sentencepiece"] = (lambda text: len(pieces.encode(text)), [512, 2000])
    print("# Written by needle_prompts.py. tokenizer id tokens sha256")
    for name, (count, lengths) in counts.items():
        for kind in ["single", "multikey4", "multivalue2", "multiquery3", "passkey"]:
            for length in lengths:
                for depth in [0, 37, 100]:
                    text_id = f"{kind}-{length}-{depth}-0"
                    seed = int(hashlib.sha256(f"needle 5 {text_id}".encode()).hexdigest()[:8], 16)
                    draw = random.Random(seed)
                    prompt = passkey(draw, depth) if kind == "passkey" else prose(draw, words, parts, kind, depth)
                    new = 10 if kind == "passkey" else 128

                    def size(n):
                        text = prompt(n)
                        end = text.rindex("\n") + 1
                        whole, apart = count(text), count(text[:end]) + count(text[end:])
                        return 1 + max(whole, apart) + new

                    n = largest(lambda n: size(n) <= length, 6 * length)
                    print(name, text_id, size(n), hashlib.sha256(prompt(n).encode()).hexdigest())


if __name__ == "__main__":
    main(*sys.argv[1:])
