"""Batches, loss and optimiser: python -m unittest (in this folder)."""

import random
import re
import unittest

import numpy as np
import torch

import batches
import step
import tokenizer
import words
from model import Config, Llama, dropped, rotary_tables
from muon import Muon, orthogonal
from needle import NeedleMaker
from problems import ProblemMaker
from test_documents import MODEL, FixedSentences


class DocumentsOfText(batches.Documents):
    """As in training, but the haystack is a few fixed sentences."""

    def __init__(self):
        self.tokenizer = tokenizer.load(MODEL)
        vocabulary = words.training_words()
        task = words.read_json(f"{words.TASKS}/arith.json")
        self.needles = NeedleMaker(vocabulary, self.tokenizer, FixedSentences(self.tokenizer))
        self.problems = ProblemMaker(task, vocabulary, held_out=False)


class DropoutTest(unittest.TestCase):
    def test_rows_of_documents_stay_and_prose_keeps_its_mean(self):
        torch.manual_seed(1)
        rates = torch.cat([torch.full((400, 1), 0.1), torch.zeros(400, 1)])
        x = dropped(torch.ones(800, 256), rates)
        self.assertTrue(torch.equal(x[400:], torch.ones(400, 256)))
        self.assertEqual(sorted(set(x[:400].flatten().tolist())), [0.0, float(torch.ones(1) / (1 - rates[0]))])
        self.assertAlmostEqual((x[:400] == 0).float().mean().item(), 0.1, delta=0.005)

    def test_only_the_groups_named_change(self):
        torch.manual_seed(2)
        config = Config(vocab=64, hidden=32, layers=2, heads=2, kv_heads=1, head_dim=16, inner=48)
        model, tables = Llama(config), rotary_tables(config, 8, "cpu")
        rows = [torch.randint(1, 64, (2, 9), dtype=torch.int16) for _ in range(2)]
        plain = step.losses(model, rows, tables, (1.0, 1.0, 1.0, 1.0))[1]
        part = step.losses(model, rows, tables, (1.0, 1.0, 1.0, 1.0), [0.5, 0.0])[1]
        self.assertNotEqual(plain[0].item(), part[0].item())
        self.assertEqual(plain[1].item(), part[1].item())


class BatchesTest(unittest.TestCase):
    def test_what_is_marked_as_value_and_answer(self):
        documents = DocumentsOfText()
        rng = random.Random(3)
        seen = {batches.VALUE: 0, batches.ANSWER: 0, batches.LEAD: 0}
        for _ in range(60):
            entries = np.array(documents.draw(rng, 600) or [], dtype=np.int16)
            ids, kinds = entries & 4095, entries >> batches.TOKEN_BITS
            text = documents.tokenizer.decode(ids.tolist())
            marked = {kind: documents.tokenizer.decode(ids[kinds == kind].tolist()) for kind in seen}
            if "Question: " in text:
                answers = [part.split("Answer:")[1] for part in text.split("Question: ")[1:]]
                self.assertEqual(marked[batches.ANSWER], "".join(answers))
                seen[batches.ANSWER] += 1
            elif "magic" in text:
                body = text.split("\n", 1)[1]
                told = r"(?:mentioned in the provided text (?:is|are)|\nOne of the special magic numbers for \S+ is:) (.*)"
                values = re.findall(r"\d+", " ".join(re.findall(told, body)))
                self.assertEqual(marked[batches.LEAD], "".join(value[0] for value in values))
                self.assertEqual(marked[batches.VALUE], "".join(value[1:] for value in values))
                seen[batches.VALUE] += 1
                seen[batches.LEAD] += 1
        self.assertGreater(min(seen.values()), 5)

    def test_rows_hold_whole_documents(self):
        documents = DocumentsOfText()
        row = documents.row(random.Random(4), 1024)
        ids = row & 4095
        self.assertEqual(len(ids), 1025)
        self.assertEqual(ids[0], tokenizer.BOS)
        used = len(ids) - np.argmax(ids[::-1] != batches.PAD)
        self.assertLess(len(ids) - used, batches.SHORTEST)
        self.assertNotIn(batches.PAD, ids[:used])
        for text in documents.tokenizer.decode(ids[:used].tolist()).split("A special magic"):
            self.assertTrue(text == "" or text.endswith("\n"))


class LossTest(unittest.TestCase):
    def test_weighted_mean_and_sums_by_hand(self):
        torch.manual_seed(2)
        model = Llama(Config(vocab=4096, hidden=64, layers=1, heads=1, kv_heads=1, inner=64))
        tables = rotary_tables(model.config, 8, "cpu")
        value, answer, lead = (kind << batches.TOKEN_BITS for kind in (batches.VALUE, batches.ANSWER, batches.LEAD))
        rows = [
            torch.tensor([[1, 50 | lead, 60 | value, 70]], dtype=torch.int16),
            torch.tensor([[1, 80 | answer, 0], [1, 90, 95 | value]], dtype=torch.int16),
        ]
        loss, sums, marks = step.losses(model, rows, tables, (1.0, 4.0, 2.0, 8.0))
        nll = {}
        for line in ([1, 50, 60, 70], [1, 80], [1, 90, 95]):
            ids = torch.tensor(line)
            logits = model.logits(ids[:-1], [(1, len(line) - 1)], tables)
            for target, p in zip(line[1:], logits.softmax(-1)):
                nll[target] = -p[target].log().item()
        a, b, c, d, e, f = (nll[token] for token in (50, 60, 70, 80, 90, 95))
        self.assertAlmostEqual(loss.item(), (8 * a + 4 * b + c + 2 * d + e + 4 * f) / 20, places=4)
        for ours, expected in zip(sums.tolist(), (a + b + c, d + e + f, b + f, d, a)):
            self.assertAlmostEqual(ours, expected, places=3)
        self.assertEqual(marks.tolist(), [3, 3, 2, 1, 1])


class MuonTest(unittest.TestCase):
    def test_singular_values_come_near_one(self):
        torch.manual_seed(1)
        x = torch.randn(3, 96, 32)
        values = torch.linalg.svdvals(orthogonal(x.bfloat16()).float())
        self.assertGreater(values.min(), 0.5)
        self.assertLess(values.max(), 1.3)

    @unittest.skipUnless(hasattr(torch.optim, "Muon"), "this PyTorch has no Muon")
    def test_updates_are_those_of_pytorch(self):
        torch.manual_seed(1)
        ours = [torch.nn.Parameter(0.02 * torch.randn(shape)) for shape in [(64, 64), (32, 64), (64, 64), (96, 32)]]
        theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
        start = [p.detach().clone() for p in ours]
        optimizers = [
            Muon(ours, torch.tensor(5e-3)),
            torch.optim.Muon(theirs, lr=5e-3, momentum=0.95, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        ]
        for _ in range(3):
            for p, q in zip(ours, theirs):
                p.grad = torch.randn(p.shape)
                q.grad = p.grad.clone()
            for optimizer in optimizers:
                optimizer.step()
        for p, q, before in zip(ours, theirs, start):
            self.assertLess((p - q).norm(), 1e-3 * (q - before).norm())


if __name__ == "__main__":
    unittest.main()
