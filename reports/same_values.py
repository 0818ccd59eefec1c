#!/usr/bin/env python3
"""Compares the values of two run folders, unit by unit, timing left out: same_values.py FOLDER FOLDER. Exit 1 if any differ."""
import json
import pathlib
import sys


def values(folder):
    records = map(json.loads, (pathlib.Path(folder) / "results.jsonl").read_text().splitlines())
    return {record["key"]: {**record, "timing": None} for record in records}


def main(a, b):
    a, b = values(a), values(b)
    common = sorted(a.keys() & b.keys())
    different = [key for key in common if a[key] != b[key]]
    for key in different:
        print(key, "differs in", ", ".join(name for name in a[key] if a[key][name] != b[key].get(name)))
    print(f"{len(common)} units in both, {len(different)} differ")
    return 1 if different or not common else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
