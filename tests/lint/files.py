"""What the lints share: the project's source files, and a report."""

import os
import re
import sys

CODE = (".cc", ".h", ".cu", ".cuh", ".def")
BUILD = (".cmake", "CMakeLists.txt", "CMakePresets.json", ".sh")


def walk(root, folders, endings):
    """Paths under root, relative to it, whose name ends with one of the endings."""
    for folder in folders:
        for directory, _, names in sorted(os.walk(os.path.join(root, folder))):
            for name in sorted(names):
                if name.endswith(endings):
                    yield os.path.relpath(os.path.join(directory, name), root)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text):
    """C++ text with comments blanked; line numbers stay."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)

    def blank(match):
        found = match.group(0)
        return found if found.startswith('"') else re.sub(r"[^\n]", " ", found)

    return pattern.sub(blank, text)


def finish(what, checked, problems):
    """Exits with 0 (clean), 1 (violations) or 2 (nothing was looked at)."""
    for problem in problems:
        print(problem)
    print(f"{what}: {checked} looked at, {len(problems)} violations")
    if checked == 0:
        sys.exit(2)
    sys.exit(1 if problems else 0)
