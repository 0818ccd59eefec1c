"""Every C++ file of the project is compiled without contraction and fast-math. Usage: flags.py ROOT COMPILE_COMMANDS"""

import json
import os
import shlex
import sys

import files

BANNED = ("-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-fassociative-math", "-freciprocal-math",
          "-ffinite-math-only", "-fno-signed-zeros", "-mfpmath=387", "-mdaz-ftz", "-use_fast_math", "--use_fast_math",
          "-fmad=true", "-ftz=true", "-prec-div=false", "-prec-sqrt=false")


def check(path, arguments):
    for flag in arguments:
        if flag in BANNED:
            yield f"{path}: {flag}"
    wanted = "-fmad=false" if path.endswith(".cu") else "-ffp-contract=off"
    name = wanted.split("=")[0] + "="
    given = [flag for flag in arguments if flag.startswith(name)]
    if not given or given[-1] != wanted:
        yield f"{path}: compiled without {wanted}"


def main(root, commands):
    with open(commands, encoding="utf-8") as file:
        entries = json.load(file)
    root = os.path.realpath(root)
    checked, problems = 0, []
    for entry in entries:
        if "kvx_broken_" in entry.get("output", ""):  # flags are what is planted in some of them
            continue
        path = os.path.realpath(os.path.join(entry["directory"], entry["file"]))
        if not path.startswith(root + os.sep):
            continue
        checked += 1
        arguments = entry.get("arguments") or shlex.split(entry["command"])
        problems += check(os.path.relpath(path, root), arguments)
    files.finish("flags", checked, problems)


if __name__ == "__main__":
    main(*sys.argv[1:])
