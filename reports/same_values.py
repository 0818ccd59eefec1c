#!/usr/bin/env python3
"""Compares the values of two run folders, unit by unit, timing and backends left out: same_values.py FOLDER FOLDER. Exit 1 if any differ.

Records of different schemas are compared in the fields that both have, the scores of their positions included where the newer
folder has its side files (schema/result.md says what a schema added)."""
import hashlib
import json
import pathlib
import sys


def load(folder):
    folder = pathlib.Path(folder)
    records = map(json.loads, (folder / "results.jsonl").read_text().splitlines())
    return {record["key"]: comparable(record, folder) for record in records}


def comparable(record, folder):
    for name in ("timing", "backends", "equal"):
        record.pop(name, None)
    if "positions" not in record:
        return record
    side = folder / record["positions"]["file"]
    record["scores"] = record["positions"]["sha256"]
    if record["schema"] != "kvx-result/1":
        two_arrays = 2 * 8 * record["targets"]
        record["scores"] = hashlib.sha256(side.read_bytes()[:two_arrays]).hexdigest() if side.exists() else None
    return record


def differing(a, b):
    names = sorted(a.keys() | b.keys())
    if a["schema"] != b["schema"]:
        names = [name for name in names if name in a and name in b and name not in ("schema", "positions")]
    absent = {name for name in ("scores", "logits") if None in (a.get(name), b.get(name))}
    return [name for name in names if a.get(name) != b.get(name) and name not in absent]


def main(a, b):
    a, b = load(a), load(b)
    common = sorted(a.keys() & b.keys())
    different = {key: names for key in common if (names := differing(a[key], b[key]))}
    for key, names in different.items():
        print(key, "differs in", ", ".join(names))
    print(f"{len(common)} units in both, {len(different)} differ")
    return 1 if different or not common else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
