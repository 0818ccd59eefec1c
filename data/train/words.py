"""Words, names and nouns that documents are made of: one vocabulary for training, one for evaluation."""

import json
import os
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
TASKS = os.path.join(HERE, "..", "tasks")

ONSETS = "b br c ch cl d dr f fl g gr h j k kn l m n p pl qu r s sh sp st sw t th tr v w x y z".split()
VOWELS = "a e i o u ai ea oo".split()
CODAS = "b ck d g l m n nd r rn s st t x".split()


def read_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


@dataclass
class Words:
    adjectives: list  # of needle keys
    nouns: list  # of needle keys
    people: list  # of word problems
    things: list  # of word problems, plural
    invented: float = 0.0  # the share of words that are made of random syllables instead
    forbidden: frozenset = frozenset()  # never invented

    def pick(self, rng, words):
        if rng.random() >= self.invented:
            return rng.choice(words)
        word = syllables(rng)
        while word in self.forbidden:
            word = syllables(rng)
        return word.capitalize() if words is self.people else word

    def all(self):
        """Every listed word, in small letters."""
        parts = (self.adjectives, self.nouns, self.people, self.things)
        return frozenset(word.lower() for part in parts for word in part)

    def key(self, rng):
        return f"{self.pick(rng, self.adjectives)}-{self.pick(rng, self.nouns)}"

    def keys(self, rng, count):
        """`count` different keys."""
        found = {}
        while len(found) < count:
            found[self.key(rng)] = None
        return list(found)


def syllables(rng):
    """A pronounceable word of one to three syllables: what is copied cannot be learned by heart."""
    parts = [rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3))]
    return "".join(parts) + rng.choice(CODAS)


def evaluation_words(tasks=TASKS):
    keys = read_json(os.path.join(tasks, "needle_words.json"))
    problems = read_json(os.path.join(tasks, "arith.json"))
    return Words(keys["adjectives"], keys["nouns"], problems["names"], problems["nouns"])


def training_words():
    words = read_json(os.path.join(HERE, "words.json"))
    lists = (words[name] for name in ("key_adjectives", "key_nouns", "names", "nouns"))
    return Words(*lists, invented=0.25, forbidden=evaluation_words().all())
