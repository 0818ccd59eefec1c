"""What an exported model can do, by cache: evaluate.py --model FOLDER --data PREPARED [--out TABLE.md]

Perplexity of held-out prose, needle and pass-key retrieval by kind and length, word problems with eight shots. Texts,
words, names, nouns and operands are those kept from training. A value counts as found where every digit has the highest
logit given the true text before it: for the first value of an answer that is greedy decoding. Word problems are decoded
greedily in full and judged by the number after "####".
"""

import argparse
import functools
import random
import re
import time

import numpy as np
import torch
from torch.nn import functional as F

import export
import problems
import tokenizer
import words
from batches import Sentences
from model import rotary_tables
from needle import NeedleMaker
from quantise import CODERS

SEED = "evaluation"
FORWARD_TOKENS = 1 << 17  # of one pass
NEW_TOKENS = 100
KINDS = {  # keys, values of each, keys asked
    "single": (1, 1, 1),
    "multikey4": (4, 1, 1),
    "multikey8": (8, 1, 1),
    "multivalue4": (1, 4, 1),
    "multiquery4": (4, 1, 4),
}


class Evaluation:
    def __init__(self, options):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = export.load(options.model, self.device).eval()
        self.sp = tokenizer.load(options.model)
        self.options = options
        self.tables = rotary_tables(self.model.config, self.model.config.context, self.device)
        self.words = words.evaluation_words()
        self.maker = NeedleMaker(self.words, self.sp, Sentences(options.data, "held"))
        self.prose = np.load(f"{options.data}/held.prose.npy", mmap_mode="r")
        task = words.read_json(f"{words.TASKS}/arith.json")
        self.problems = problems.ProblemMaker(task, self.words, held_out=True)

    def hidden(self, ids, coder):
        """ids: [rows, length]; returns [rows, length, hidden]"""
        rows, length = ids.shape
        return self.model.hidden(ids.flatten(), [(rows, length)], self.tables, coder).view(rows, length, -1)

    def logits(self, hidden):
        return F.linear(hidden, self.model.model.embed_tokens.weight)

    def perplexity(self, coder):
        """Windows of 2048 tokens spread evenly over the held-out books; 2047 targets each."""
        length, count = 2048, self.options.windows
        starts = np.linspace(0, len(self.prose) - length, count).astype(int)
        ids = torch.from_numpy(np.stack([self.prose[s : s + length] for s in starts]).astype(np.int64))
        total = 0.0
        for part in ids.to(self.device).split(max(1, FORWARD_TOKENS // 2 // length)):
            logits = self.logits(self.hidden(part, coder))[:, :-1].flatten(0, 1)
            nll = F.cross_entropy(logits, part[:, 1:].flatten(), reduction="none")
            total += nll.double().sum().item()
        return float(np.exp(total / (count * (length - 1))))

    def document(self, kind, length, index):
        rng = random.Random(f"{SEED}/{kind}/{length}/{index}")
        if kind == "passkey":
            return self.maker.passkey(rng, length - 1)
        keys, values, asked = KINDS[kind]
        names = self.words.keys(rng, keys)
        pairs = [(name, self.maker.value(rng)) for name in names for _ in range(values)]
        rng.shuffle(pairs)
        question = rng.sample(names, asked)
        return self.maker.build(rng, length - 1, pairs, [question], asked * values == 1)

    @functools.cache
    def documents(self, kind, length):
        return [self.document(kind, length, index) for index in range(self.options.samples)]

    def batches(self, rows):
        """Rows of ids padded to the longest, FORWARD_TOKENS at most: (indices, ids [rows, length])"""
        size = max(1, FORWARD_TOKENS // max(map(len, rows)))
        for begin in range(0, len(rows), size):
            part = rows[begin : begin + size]
            ids = np.zeros((len(part), max(map(len, part))), dtype=np.int64)
            for row, source in zip(ids, part):
                row[: len(source)] = source
            yield range(begin, begin + len(part)), torch.from_numpy(ids).to(self.device)

    def choices(self, rows, coder):
        """The token of the highest logit after each position of each row."""
        out = []
        for indices, ids in self.batches(rows):
            best = self.logits(self.hidden(ids, coder)).argmax(-1).cpu().numpy()
            out += [line[: len(rows[i])] for i, line in zip(indices, best)]
        return out

    def retrieval(self, kind, length, coder):
        """Share of the values found, mean over documents."""
        documents = self.documents(kind, length)
        rows = [np.insert(document.ids, 0, tokenizer.BOS) for document in documents]
        shares = []
        for document, best in zip(documents, self.choices(rows, coder)):
            found = [np.array_equal(best[b:e], document.ids[b:e]) for b, e in document.spans]
            shares.append(np.mean(found))
        return float(np.mean(shares))

    def word_problems(self, coder):
        """Share right of the numbers after "####". Answers that greedy decoding gives word for word are
        found in one pass; the rest is decoded."""
        cases = [
            self.problems.prompt(random.Random(f"{SEED}/arith/{i}"), 8) for i in range(self.options.problems)
        ]
        prompts = [[tokenizer.BOS, *self.sp.encode(prompt)] for prompt, _ in cases]
        answers = [self.sp.encode(answer + "\n\n") for _, answer in cases]
        best = self.choices([p + a for p, a in zip(prompts, answers)], coder)
        wrong = [
            i for i, (p, a) in enumerate(zip(prompts, answers)) if list(best[i][len(p) - 1 : -1]) != list(a)
        ]
        number = lambda text: (re.findall(r"#### (-?[0-9.,]+)", text) or ["[invalid]"])[0]
        outputs = self.decode([prompts[i] for i in wrong], coder)
        right = sum(number(out) == number(cases[i][1]) for i, out in zip(wrong, outputs))
        return (len(cases) - len(wrong) + right) / len(cases)

    def decode(self, prompts, coder):
        """Greedy texts up to a blank line, the whole row computed anew for each token."""
        rows = [list(prompt) for prompt in prompts]
        texts = [""] * len(rows)
        alive = list(range(len(rows)))
        for _ in range(NEW_TOKENS):
            if not alive:
                break
            following = []
            for indices, ids in self.batches([rows[i] for i in alive]):
                ends = torch.tensor([len(rows[alive[i]]) - 1 for i in indices], device=self.device)
                last = self.hidden(ids, coder)[torch.arange(len(ends), device=self.device), ends]
                following += self.logits(last).argmax(-1).tolist()
            for i, token in zip(alive, following):
                rows[i].append(token)
                texts[i] = self.sp.decode(rows[i][len(prompts[i]) :])
            alive = [i for i in alive if "\n\n" not in texts[i]]
        return texts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, help="folder that prepare.py wrote")
    parser.add_argument("--out", help="JSON file")
    parser.add_argument("--samples", type=int, default=50, help="documents of a cell")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    parser.add_argument("--coders", nargs="+", default=list(CODERS), choices=list(CODERS))
    options = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    evaluation = Evaluation(options)
    kinds = [*KINDS, "passkey"]
    columns = ["prose ppl", "arith 8-shot", *(f"{kind} {n}" for kind in kinds for n in options.lengths)]
    print("| cache | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|", flush=True)
    table = {}
    start = time.perf_counter()
    with torch.inference_mode():
        for name in options.coders:
            coder = CODERS[name]
            cells = {"prose ppl": evaluation.perplexity(coder), "arith 8-shot": evaluation.word_problems(coder)}
            for kind in kinds:
                for length in options.lengths:
                    cells[f"{kind} {length}"] = evaluation.retrieval(kind, length, coder)
            table[name] = cells
            print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells.values()) + " |", flush=True)
            if options.out:
                export.write_json(options.out, table)
    print(f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
