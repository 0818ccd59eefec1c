"""Tokenised documents: python -m unittest (in this folder; needs sentencepiece, numpy and the model's tokenizer)."""

import itertools
import os
import random
import re
import unittest

import tokenizer
import words
from needle import FILLER, PASSKEY_TASK, NeedleMaker, join
from prepare import split_sentences

MODEL = os.path.join(words.HERE, "..", "models", "tiny")
PROSE = (
    'The door stood open. "Who is there?" asked the captain! Nobody answered him (as usual.) '
    "He went on... Then, after 12 minutes, he came back. It was cold."
)
VALUE = r"[1-9][0-9]{6}"


class FixedSentences:
    """The same few sentences for every draw."""

    def __init__(self, sp):
        self.sentences = [sp.encode(" " + s) for s in split_sentences(PROSE)]

    def draw(self, rng, tokens):
        picked = []
        for ids in itertools.cycle(self.sentences):
            tokens -= len(ids)
            if tokens < 0:
                return picked
            picked.append(ids)


class DocumentsTest(unittest.TestCase):
    def setUp(self):
        self.sp = tokenizer.load(MODEL)
        self.maker = NeedleMaker(words.training_words(), self.sp, FixedSentences(self.sp))
        self.rng = random.Random(7)

    def assert_whole(self, document):
        """The ids are those of the text, tokenised at once."""
        text = self.sp.decode([int(i) for i in document.ids])
        self.assertEqual(self.sp.encode(text), [int(i) for i in document.ids])
        return text

    def test_sentences_end_after_closing_quotes_and_brackets(self):
        self.assertEqual(
            split_sentences(PROSE)[:4],
            ["The door stood open.", '"Who is there?"', "asked the captain!", "Nobody answered him (as usual.)"],
        )

    def test_lists(self):
        self.assertEqual(join(["a"]), "a")
        self.assertEqual(join(["a", "b"]), "a, and b")
        self.assertEqual(join(["a", "b", "c", "d"]), "a, b, c, and d")

    def test_one_key_is_asked_in_the_singular(self):
        document = self.maker.build(self.rng, 120, [("old-cat", "7654321")], [["old-cat"]], one=True)
        text = self.assert_whole(document)
        self.assertTrue(text.startswith("A special magic number is hidden within the following text. Make sure to "))
        self.assertIn("quiz you about the number afterwards.\n", text)
        self.assertEqual(text.count("One of the special magic numbers for old-cat is: 7654321."), 1)
        self.assertTrue(
            text.endswith(
                "\nWhat is the special magic number for old-cat mentioned in the provided text? The special magic "
                "number for old-cat mentioned in the provided text is 7654321.\n"
            )
        )
        (span,) = document.spans
        self.assertEqual(self.sp.decode([int(i) for i in document.ids[slice(*span)]]), "7654321")

    def test_values_of_a_key_come_in_the_order_of_the_text(self):
        pairs = [("a-b", "3000000"), ("a-b", "1000000"), ("c-d", "9000000"), ("a-b", "2000000")]
        text = self.assert_whole(self.maker.build(self.rng, 300, pairs, [["a-b"]], one=False))
        found = re.findall(rf"for a-b is: ({VALUE})", text)
        self.assertEqual(found, ["3000000", "1000000", "2000000"])
        self.assertTrue(
            text.endswith("magic numbers for a-b mentioned in the provided text are 3000000, 1000000, and 2000000.\n")
        )

    def test_values_of_several_keys_come_in_the_order_of_the_question(self):
        pairs = [("a-b", "3000000"), ("c-d", "9000000"), ("e-f", "2000000")]
        text = self.assert_whole(self.maker.build(self.rng, 300, pairs, [["e-f", "a-b"]], one=False))
        self.assertIn("What are all the special magic numbers for e-f, and a-b mentioned", text)
        self.assertTrue(text.endswith("text are 2000000, and 3000000.\n"))

    def test_training_documents_answer_truly_and_keep_their_length(self):
        longest = 0
        for _ in range(300):
            tokens = self.rng.randint(64, 4000)
            document = self.maker.training(self.rng, tokens)
            text = self.assert_whole(document)
            longest = max(longest, len(document.ids))
            body = text.split("\n", 1)[1]
            hay = re.split(r"\nWhat |\nOne of the special", body)[0]
            needles = re.findall(rf"One of the special magic numbers for (\S+) is: ({VALUE})\.", hay)
            again = re.findall(rf"\nOne of the special magic numbers for (\S+) is: ({VALUE})\.", body)
            self.assertLessEqual(set(again), set(needles))
            questions = re.findall(r"The special magic numbers? for (.*) mentioned in the provided text (?:is|are) (.*)\.\n", text)
            self.assertTrue(questions or again)
            for asked, answers in questions:
                keys = re.split(r", and |, ", asked)
                expected = [value for key in keys for k, value in needles if k == key]
                self.assertEqual(re.split(r", and |, ", answers), expected)
            if tokens >= 1000:
                self.assertLessEqual(len(document.ids), tokens)
                self.assertGreater(len(document.ids), tokens - 64)
        self.assertGreater(longest, 3500)

    def test_passkey_is_the_papers_text(self):
        # Section "passkey retrieval" of LongLoRA's script: both pieces of the filler begin at its start.
        for _ in range(50):
            text = self.assert_whole(self.maker.passkey(self.rng, self.rng.randint(120, 2000)))
            lines = text.split("\n")
            self.assertEqual(lines[0], PASSKEY_TASK)
            key = re.fullmatch(r"The pass key is (\d+)\. Remember it\. (\d+) is the pass key\.", lines[2])
            self.assertEqual(key[1], key[2])
            for piece in (lines[1], lines[3]):
                self.assertEqual(piece, ((FILLER + " ") * 999)[: len(piece)])
            self.assertEqual(lines[4], f"What is the pass key? The pass key is {key[1]}.")


if __name__ == "__main__":
    unittest.main()
