#!/usr/bin/env python3
"""Prompts of task arith by Python's own random numbers and str.format, after eval/tasks/gsm8k.md.

  arith_prompts.py [--store] [--show]

Hashes of all prompts are compared with those in arith_prompts.txt, which the C++ test compares ours with; --store writes that
file, --show prints the first sample with its shots. Exit status 1 for a difference.
"""

import argparse
import hashlib
import json
import operator
import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
STORED = HERE / "arith_prompts.txt"
FILE = json.loads((HERE.parent.parent / "data/tasks/arith.json").read_text(encoding="utf-8"))
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
SETTINGS = [(8, 200, 1), (0, 3, 7), (40, 1000, 4000000000)]  # shots, samples, seed


def solved(template, values):
    """Whether every result is allowed and the first step held out; adds the results to the values."""
    low, high = FILE["results"]
    for step in template["steps"]:
        result = OPERATIONS[step["op"]](values[step["left"]], values[step["right"]])
        if result != int(result) or not low <= result <= high:
            return False
        values[step["result"]] = int(result)
    rule, first = FILE["held_out"], template["steps"][0]
    code = values[first["left"]] * rule["left"] + values[first["right"]] * rule["right"]
    return code % rule["modulus"] < rule["below"]


def draw(template, rng):
    values = None
    while values is None or not solved(template, values):
        values = {operand: rng.randint(*ends) for operand, ends in template["ranges"].items()}
    values["name"], values["other"] = rng.sample(FILE["names"], 2)
    values["noun"] = rng.choice(FILE["nouns"])
    steps = "".join(step["text"].format(**values) + "\n" for step in template["steps"])
    return template["question"].format(**values), f"{steps}#### {values[template['answer']]}"


def problems(count, seed, seen):
    rng, drawn = random.Random(seed), []
    templates = FILE["templates"]
    for i in range(count):
        if i % len(templates) == 0:
            order = list(range(len(templates)))
            rng.shuffle(order)
        question = None
        while question is None or question in seen:
            question, answer = draw(templates[order[i % len(templates)]], rng)
        seen.add(question)
        drawn.append((question, answer))
    return drawn


def prompts(shots, samples, seed):
    seen = set()
    context = "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in problems(shots, seed ^ 0x80000000, seen))
    return [f"{context}Question: {q}\nAnswer:" for q, _ in problems(samples, seed, seen)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--show", action="store_true")
    options = parser.parse_args()
    if options.show:
        print(prompts(*SETTINGS[0])[0])
    lines = "# shots samples seed sha256\n"
    for settings in SETTINGS:
        text = "".join(prompts(*settings)).encode()
        lines += " ".join(map(str, settings)) + f" {hashlib.sha256(text).hexdigest()}\n"
    if options.store:
        STORED.write_text(lines, encoding="utf-8")
    if STORED.read_text(encoding="utf-8") != lines:
        sys.exit(f"{STORED} is not what this program finds:\n{lines}")


if __name__ == "__main__":
    main()
