"""Words and word problems: python -m unittest test_words (in this folder; the standard library is enough)."""

import os
import random
import re
import unittest

import problems
import words


class WordsTest(unittest.TestCase):
    def setUp(self):
        self.words = words.training_words()
        self.rng = random.Random(7)
        self.task = words.read_json(os.path.join(words.TASKS, "arith.json"))

    def test_problems_are_solved_and_keep_apart(self):
        rule = self.task["held_out"]
        for held_out in (False, True):
            maker = problems.ProblemMaker(self.task, self.words, held_out)
            for template in self.task["templates"]:
                question, answer = maker.problem(self.rng, template)
                self.assertNotIn("{", question + answer)
                for left, op, right, result in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", answer):
                    self.assertEqual(eval(f"{left}{op}{right}"), int(result))
                self.assertEqual(answer.split("#### ")[1], re.findall(r"= (\d+)", answer)[-1])
                left, right = map(int, re.search(r"(\d+) [-+*/] (\d+) =", answer).groups())
                share = (rule["left"] * left + rule["right"] * right) % rule["modulus"]
                self.assertEqual(share < rule["below"], held_out)

    def test_training_and_evaluation_share_no_word(self):
        train, held = self.words, words.evaluation_words()
        self.assertEqual(train.all() & held.all(), set())
        self.assertGreater(len(train.all()), 2000)
        self.assertGreater(len(held.all()), 300)

    def test_words_of_the_evaluation_are_not_invented(self):
        word = words.syllables(random.Random(3))
        maker = words.Words(["x"], [], [], [], invented=1.0, forbidden=frozenset([word]))
        self.assertNotEqual(maker.pick(random.Random(3), maker.adjectives), word)


if __name__ == "__main__":
    unittest.main()
