"""The network against transformers, the fake quantisation against hand arithmetic, the export against kvx.

python -m unittest (in this folder). The check against kvx needs the program's path in KVX.
"""

import os
import subprocess
import tempfile
import unittest

import torch
import transformers

import export
import quantise
import tokenizer
import words
from model import Config, Llama, rotary_tables

TOKENIZER = os.path.join(words.HERE, "..", "models", "tiny")
TEXT = os.path.join(words.HERE, "..", "text", "demo.txt")
LENGTH = 300


class ExportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.manual_seed(5)
        model = Llama(Config(hidden=128, layers=3, inner=192))
        with torch.no_grad():
            for parameter in model.parameters():  # far from their initial values
                parameter.add_(0.05 * torch.randn_like(parameter))
        cls.scratch = tempfile.TemporaryDirectory()
        cls.folder = os.path.join(cls.scratch.name, "model")
        export.save(model, TOKENIZER, cls.folder)
        with open(TEXT, encoding="utf-8") as file:
            cls.ids = torch.tensor([tokenizer.BOS] + tokenizer.load(cls.folder).encode(file.read()))[:LENGTH]
        model = transformers.LlamaForCausalLM.from_pretrained(cls.folder, dtype=torch.float32)
        with torch.no_grad():
            cls.expected = model(cls.ids[None]).logits[0]

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def logits(self, ids, groups, coder=None):
        model = export.load(self.folder, "cpu")
        with torch.no_grad():
            return model.logits(ids, groups, rotary_tables(model.config, LENGTH, "cpu"), coder)

    def test_logits_are_those_of_transformers(self):
        ours = self.logits(self.ids, [(1, LENGTH)])
        self.assertGreater(self.expected.abs().max(), 1)
        torch.testing.assert_close(ours, self.expected, atol=1e-4, rtol=0)

    def test_groups_of_rows_do_not_see_each_other(self):
        ids = torch.cat([self.ids[:50], self.ids[:50], self.ids])
        ours = self.logits(ids, [(2, 50), (1, LENGTH)])
        expected = torch.cat([self.expected[:50], self.expected[:50], self.expected])
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)

    def test_a_coder_reaches_the_logits(self):
        ours = self.logits(self.ids, [(1, LENGTH)], quantise.int_coder(2))
        self.assertGreater((ours - self.expected).abs().max(), 0.1)

    def test_kvx_gives_the_same_perplexity(self):
        program = os.environ.get("KVX")
        if not program:
            self.skipTest("KVX does not name the program kvx")
        run = [program, "eval", "--model", self.folder, "--data", TEXT, "--task", "ppl", "--windows", "1"]
        run += ["--length", str(LENGTH), "--scheme", "f32", "--out", os.path.join(self.scratch.name, "run")]
        output = subprocess.run(run, check=True, capture_output=True, text=True)
        (line,) = [line for line in output.stdout.splitlines() if line.startswith("fp:f32")]
        expected = torch.nn.functional.cross_entropy(self.expected[:-1], self.ids[1:]).exp().item()
        self.assertAlmostEqual(float(line.split()[3]) / expected, 1, delta=1e-4)


class QuantiseTest(unittest.TestCase):
    def test_two_bits_by_hand(self):
        # min 0, max 6, scale 2: 0.9 -> code 0, 2.9 -> 1, 3.1 -> 2
        x = torch.tensor([0.0, 0.9, 2.9, 3.1, 6.0])
        self.assertEqual(quantise.integers(x, 2, -1).tolist(), [0, 0, 2, 4, 6])

    def test_channels_are_quantised_along_the_tokens(self):
        x = torch.randn(2, 2, 70, 64, generator=torch.Generator().manual_seed(1))
        coded = quantise.per_channel(x, 2)
        for begin, end in ((0, 32), (32, 64), (64, 70)):
            column = coded[1, 0, begin:end, 17]
            self.assertIn(len(column.unique()), (2, 3, 4))
            self.assertEqual(column.min(), x[1, 0, begin:end, 17].min())

    def test_tokens_are_quantised_by_group(self):
        x = torch.randn(1, 2, 5, 64, generator=torch.Generator().manual_seed(1))
        coded = quantise.per_token(x, 4, 32)
        self.assertEqual(coded[0, 1, 3, 32:].min(), x[0, 1, 3, 32:].min())
        self.assertLess((coded - x).abs().max(), (x.max() - x.min()) / 15 / 2 + 1e-6)


if __name__ == "__main__":
    unittest.main()
