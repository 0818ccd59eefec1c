"""Kernels with one planted bug, made from the real sources, so that they cannot fall behind them.

mutate.py ROOT --check                every fault of faults.json applies: its text stands in its file exactly once
mutate.py ROOT --list                 name, unit, cases, level and flags of every fault, for CMake
mutate.py ROOT --make NAME FOLDER     FOLDER/<file> is the changed file; with FOLDER before ROOT among the include paths the
                                      unit is compiled with the bug

A fault of faults.json:
  name, bug     what it is called, and what is wrong, in a sentence
  unit          the source file that is compiled with it
  file          the file that holds `find`, once; it becomes `replace` (absent: the fault is in `flags`)
  flags         further compiler flags
  cases         what `kvx check --filter` must select to meet it
  level         the level at which it must be caught
"""

import json
import os
import shutil
import sys


def load(root):
    with open(os.path.join(root, "tests/broken/faults.json"), encoding="utf-8") as file:
        return json.load(file)


def changed(root, fault):
    """(path, text) of the changed file; None for a fault of flags alone."""
    if "file" not in fault:
        if not fault.get("flags"):
            raise ValueError(f"{fault['name']}: changes nothing")
        return None
    with open(os.path.join(root, fault["file"]), encoding="utf-8") as file:
        text = file.read()
    count = text.count(fault["find"])
    if count != 1:
        raise ValueError(f"{fault['name']}: {fault['file']} holds its text {count} times, not once")
    if fault["find"] == fault["replace"]:
        raise ValueError(f"{fault['name']}: changes nothing")
    return fault["file"], text.replace(fault["find"], fault["replace"])


def main(root, action, *arguments):
    faults = load(root)
    names = [fault["name"] for fault in faults]
    if len(set(names)) != len(names):
        raise ValueError("faults.json: two faults of one name")
    if action == "--check":
        for fault in faults:
            changed(root, fault)
            if not os.path.isfile(os.path.join(root, fault["unit"])):
                raise ValueError(f"{fault['name']}: no unit {fault['unit']}")
        print(f"{len(faults)} faults apply")
    elif action == "--list":
        for fault in faults:
            print("|".join(fault[key] for key in ("name", "unit", "cases", "level")) + "|" + " ".join(fault.get("flags", [])))
    elif action == "--make":
        name, folder = arguments
        result = changed(root, faults[names.index(name)])
        shutil.rmtree(folder, ignore_errors=True)  # what an earlier fault of this name changed
        os.makedirs(folder)
        if result:
            path = os.path.join(folder, result[0])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(result[1])
    else:
        raise ValueError(f"unknown action {action}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"mutate: {error}")
