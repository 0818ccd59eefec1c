"""Needle documents in RULER's wording (arXiv 2404.06654, task niah) and pass-key documents in LongLoRA's.

A document is made in token space: the pieces of a text that is cut in front of blanks and around line feeds are
tokenised independently of each other, so a haystack of tokenised sentences needs no second pass (test_documents.py).
"""

from dataclasses import dataclass, field

import numpy as np

FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
HEADER_TOKENS = 30  # about
KEY_TOKENS = 75  # a needle with its share of questions and answers, about
TOLD_AGAIN = 0.4  # share of single keys that are not asked for: their needle is told again
PASSKEY_TASK = (
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize them. "
    "I will quiz you about the important information there."
)


@dataclass
class Document:
    ids: np.ndarray  # token ids, without BOS
    spans: list = field(default_factory=list)  # of the values asked for: [begin, end) in ids


def join(items):
    """RULER's list: "a", "a, and b", "a, b, and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + ", and " + items[-1]


def header(one):
    if one:
        return (
            "A special magic number is hidden within the following text. Make sure to memorize it. "
            "I will quiz you about the number afterwards."
        )
    return (
        "Some special magic numbers are hidden within the following text. Make sure to memorize it. "
        "I will quiz you about the numbers afterwards."
    )


def question(queries, one):
    """The question and the beginning of its answer, which the model completes."""
    asked = join(queries)
    if one:
        return (
            f"What is the special magic number for {asked} mentioned in the provided text? "
            f"The special magic number for {asked} mentioned in the provided text is"
        )
    return (
        f"What are all the special magic numbers for {asked} mentioned in the provided text? "
        f"The special magic numbers for {asked} mentioned in the provided text are"
    )


def needle_text(key, value):
    return f"One of the special magic numbers for {key} is: {value}."


class NeedleMaker:
    """Builds documents of `tokens` tokens at most from a rng, words, a tokenizer and a store of sentences."""

    def __init__(self, words, tokenizer, sentences):
        self.words = words
        self.tokenizer = tokenizer
        self.sentences = sentences
        self.unit = tokenizer.encode(" " + FILLER)

    def encode(self, text):
        return self.tokenizer.encode(text)

    def build(self, rng, tokens, pairs, asked, one):
        """`pairs`: (key, value) of each needle, in the order of the text; `asked`: lists of keys, a question each, or one
        key, whose needle is told again."""
        needles = [self.encode(" " + needle_text(*pair)) for pair in pairs]
        head = self.encode(header(one) + "\n")
        told = dict(pairs)
        questions = [
            self.told_again(keys, told[keys]) if isinstance(keys, str) else self.answered(pairs, keys, one)
            for keys in asked
        ]
        used = len(head) + sum(map(len, needles)) + sum(len(ids) for ids, _ in questions) + 1
        hay = self.sentences.draw(rng, tokens - used - 2)  # the first piece may lose its blank
        slots = sorted(rng.randint(0, len(hay)) for _ in needles)
        parts = []
        for index in range(len(hay) + 1):
            parts += [needles[i] for i, slot in enumerate(slots) if slot == index]
            parts += [hay[index]] if index < len(hay) else []
        first = self.encode(self.tokenizer.decode([int(i) for i in parts[0]]).lstrip(" "))
        document = Document(np.concatenate([head, first, *parts[1:], self.encode("\n")]))
        for ids, spans in questions:
            start = len(document.ids)
            document.spans += [(start + begin, start + end) for begin, end in spans]
            document.ids = np.concatenate([document.ids, ids])
        return document

    def answered(self, pairs, keys, one):
        """Ids of one question with its answer, and the spans of the values in it."""
        values = [value for key in keys for k, value in pairs if k == key]
        ids = list(self.encode(question(keys, one)))
        spans = []
        for index, value in enumerate(values):
            lead = " " if index == 0 else ", and " if index == len(values) - 1 else ", "
            ids += self.encode(lead)
            digits = self.encode(value)
            spans.append((len(ids), len(ids) + len(digits)))
            ids += digits
        return ids + list(self.encode(".\n")), spans

    def told_again(self, key, value):
        """Ids of a needle as a line of its own, and the span of its value: what is asked for without a question."""
        lead = self.encode(needle_text(key, "").removesuffix("."))
        digits = self.encode(value)
        return [*lead, *digits, *self.encode(".\n")], [(len(lead), len(lead) + len(digits))]

    def value(self, rng):
        return str(rng.randint(1000000, 9999999))

    def training(self, rng, tokens):
        """Several needles, and as many questions: the values asked for are what teaches retrieval. Keys are asked with
        repetition, so that what is left over tells nothing; a short document is little but needles and questions."""
        most = (tokens - HEADER_TOKENS) // KEY_TOKENS
        kind = rng.random()
        if kind < 0.5 or most < 2:  # a value of a key
            one = True
            keys = self.words.keys(rng, max(1, min(most, rng.choice([1, 2, 4, 8, 8, 16]))))
            pairs = [(key, self.value(rng)) for key in keys]
            asked = [key if rng.random() < TOLD_AGAIN else [key] for key in rng.choices(keys, k=len(keys))]
        elif kind < 0.75:  # several values of a key
            one = False
            keys = self.words.keys(rng, max(1, min(most // 2, rng.choice([1, 1, 2, 4]))))
            pairs = [(key, self.value(rng)) for key in keys for _ in range(rng.randint(2, min(4, most)))]
            asked = [[key] for key in rng.sample(keys, len(keys))]
        else:  # several keys asked at once
            one = False
            keys = self.words.keys(rng, min(most, rng.choice([2, 4, 4, 8, 16])))
            pairs = [(key, self.value(rng)) for key in keys]
            asked = []
            while sum(map(len, asked)) < len(keys):
                asked.append(rng.sample(keys, min(len(keys), rng.randint(2, 4))))
        rng.shuffle(pairs)
        return self.build(rng, tokens, pairs, asked, one)

    def passkey(self, rng, tokens):
        """LongLoRA's passkey_retrivial.py: a filler of n characters is cut at p, both pieces from its start."""
        key = str(rng.randint(1, 49999))
        info = self.encode(f"\nThe pass key is {key}. Remember it. {key} is the pass key.\n")
        task = self.encode(PASSKEY_TASK + "\n")
        ask = self.encode("\nWhat is the pass key? The pass key is ")
        answer = self.encode(key)
        used = len(info) + len(task) + len(ask) + len(answer) + 12
        characters = max(0, tokens - used) * (len(FILLER) + 1) // len(self.unit)
        place = rng.randrange(characters) if characters else 0
        ids = [task, self.filler(place), info, self.filler(characters - place), ask]
        begin = sum(map(len, ids))
        ids = np.concatenate([*ids, answer, self.encode(".\n")])
        return Document(ids, [(begin, begin + len(answer))])

    def filler(self, characters):
        """Ids of the first characters of the filler sentence repeated with single blanks."""
        size = len(FILLER) + 1
        whole, rest = divmod(characters + 1, size)  # the first blank is not there
        if whole == 0:
            return np.array(self.encode(FILLER[:characters]), dtype=np.int64)
        tail = self.encode((" " + FILLER)[:rest])
        return np.concatenate([self.encode(FILLER), *[self.unit] * (whole - 1), tail]).astype(np.int64)
