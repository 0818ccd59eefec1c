"""Word problems in GSM8K's form, from the templates of data/tasks/arith.json."""

OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a // b if a % b == 0 else -1,
}


class ProblemMaker:
    """`held_out`: the first step's operands are of the evaluation's share, or of the rest."""

    def __init__(self, task, words, held_out):
        self.templates = task["templates"]
        self.low, self.high = task["results"]
        self.rule = task["held_out"]
        self.words = words
        self.held_out = held_out

    def is_held_out(self, left, right):
        rule = self.rule
        return (left * rule["left"] + right * rule["right"]) % rule["modulus"] < rule["below"]

    def operands(self, rng, template):
        """Operands and results of the steps, by name."""
        while True:
            values = {name: rng.randint(low, high) for name, (low, high) in template["ranges"].items()}
            for index, step in enumerate(template["steps"]):
                left, right = values[step["left"]], values[step["right"]]
                if index == 0 and self.is_held_out(left, right) != self.held_out:
                    break
                result = OPERATIONS[step["op"]](left, right)
                if not self.low <= result <= self.high:
                    break
                values[step["result"]] = result
            else:
                return values

    def problem(self, rng, template=None):
        """(question, answer)"""
        template = template or rng.choice(self.templates)
        names = {"name": "", "other": ""}
        while names["name"] == names["other"]:
            names = {role: self.words.pick(rng, self.words.people) for role in names}
        fields = {
            **names,
            "noun": self.words.pick(rng, self.words.things),
            **self.operands(rng, template),
        }
        steps = [step["text"].format(**fields) for step in template["steps"]]
        answer = "\n".join([*steps, f"#### {fields[template['answer']]}"])
        return template["question"].format(**fields), answer

    def parts(self, rng):
        """(the question up to "Answer:", the answer with its leading blank and the blank line behind it)"""
        question, answer = self.problem(rng)
        return f"Question: {question}\nAnswer:", f" {answer}\n\n"

    def shot(self, rng):
        return "".join(self.parts(rng))

    def prompt(self, rng, shots):
        """(prompt up to "Answer:", the answer with its leading blank)"""
        text = "".join(self.shot(rng) for _ in range(shots))
        question, answer = self.problem(rng)
        return f"{text}Question: {question}\nAnswer:", " " + answer
