"""Training batches: rows of prose and rows of packed documents, a function of seed and step alone."""

import os
import random

import numpy as np
import torch

import tokenizer
import words
from needle import NeedleMaker
from problems import ProblemMaker

PAD = 0  # <unk>, which byte fallback never produces: no target
TOKEN_BITS = 12  # of an entry of a batch; what kind of target the token is stands above
# Prose and questions; values of needles and pass keys after their first digit; answers of word problems; first digits of
# values, which tell whether the right needle was found.
PLAIN, VALUE, ANSWER, LEAD = 0, 1, 2, 3
SHORTEST = 64  # tokens of a document; a row's rest below that is padding


class Sentences:
    """A store of tokenised sentences (prepare.py)."""

    def __init__(self, folder, split):
        self.ids = np.load(f"{folder}/{split}.sentences.npy", mmap_mode="r")
        self.offsets = np.load(f"{folder}/{split}.offsets.npy", mmap_mode="r")

    def draw(self, rng, tokens):
        """Consecutive sentences of `tokens` tokens at most, from a random place; none if nothing fits."""
        for _ in range(4):
            first = rng.randrange(len(self.offsets) - 1)
            limit = self.offsets[first] + tokens
            last = int(np.searchsorted(self.offsets, limit, side="right")) - 1
            if last > first:
                edges = self.offsets[first : last + 1]
                return [self.ids[begin:end] for begin, end in zip(edges, edges[1:])]
        return []


class Documents:
    """The mix of training documents. Shares are of documents, not of tokens."""

    def __init__(self, folder, model_folder):
        self.tokenizer = tokenizer.load(model_folder)
        vocabulary = words.training_words()
        task = words.read_json(os.path.join(words.TASKS, "arith.json"))
        self.needles = NeedleMaker(vocabulary, self.tokenizer, Sentences(folder, "train"))
        self.problems = ProblemMaker(task, vocabulary, held_out=False)

    def draw(self, rng, room):
        """One document of `room` tokens at most, BOS included; now and then None: it came out too long."""
        if rng.random() < 0.7:
            tokens = int(SHORTEST * (room / SHORTEST) ** rng.random())  # log-uniform
        else:
            tokens = rng.randint(SHORTEST, room)
        kind = rng.random()
        if kind < 0.40:
            entries = self.arithmetic(rng, min(tokens, 1200) - 1)
        else:
            make = self.needles.passkey if kind < 0.45 else self.needles.training
            document = make(rng, tokens - 1)
            entries = np.array(document.ids, dtype=np.int16)
            for begin, end in document.spans:
                entries[begin] |= LEAD << TOKEN_BITS
                entries[begin + 1 : end] |= VALUE << TOKEN_BITS
        return [tokenizer.BOS, *entries] if 0 < len(entries) < room else None

    def arithmetic(self, rng, tokens):
        """1 to 16 problems that fit."""
        entries = []
        for _ in range(rng.randint(1, 16)):
            question, answer = map(self.tokenizer.encode, self.problems.parts(rng))
            if len(entries) + len(question) + len(answer) > tokens:
                break
            entries += question
            entries += [token | ANSWER << TOKEN_BITS for token in answer]
        return entries

    def row(self, rng, width):
        """Whole documents in `width` + 1 tokens: a row starts at a document's start and none is cut."""
        row = np.full(width + 1, PAD, dtype=np.int16)
        used = 0
        while width + 1 - used >= SHORTEST:
            document = self.draw(rng, width + 1 - used)
            if document is None:
                continue
            row[used : used + len(document)] = document
            used += len(document)
        return row


class Batches(torch.utils.data.Dataset):
    """Item `step`: one int16 tensor [rows, width + 1] per group, of tokens and their kinds (TOKEN_BITS).

    `groups`: (kind, rows, width), kind "prose" or "documents". Prose windows are visited once per
    epoch, in an order and from an offset of the epoch's own.
    """

    def __init__(self, folder, model_folder, groups, seed, first, steps):
        self.folder, self.model_folder = folder, model_folder
        self.groups, self.seed, self.first, self.steps = groups, seed, first, steps
        self.documents = None
        self.epochs = {}

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        if self.documents is None:  # in the worker
            self.documents = Documents(self.folder, self.model_folder)
            self.prose = np.load(f"{self.folder}/train.prose.npy", mmap_mode="r")
        step = self.first + index
        out = []
        for number, (kind, rows, width) in enumerate(self.groups):
            rng = random.Random(f"{self.seed}/{step}/{number}")
            if kind == "prose":
                out.append([self.window(step * rows + row, width) for row in range(rows)])
            else:
                out.append([self.documents.row(rng, width) for _ in range(rows)])
        return [torch.from_numpy(np.stack(rows)) for rows in out]

    def window(self, number, width):
        count = (len(self.prose) - 1) // width - 1
        epoch, place = divmod(number, count)
        if (epoch, width) not in self.epochs:
            rng = np.random.default_rng([self.seed, epoch])
            self.epochs[epoch, width] = rng.integers(width), rng.permutation(count)
        offset, order = self.epochs[epoch, width]
        begin = offset + order[place] * width
        return self.prose[begin : begin + width + 1].astype(np.int16)
