"""Text that changes bits from run to run or from machine to machine. Usage: sources.py ROOT"""

import re
import sys

import files

EVERYWHERE = [
    (r"(?<!no-)fast[-_]math|funsafe-math|fassociative-math|freciprocal-math|ffinite-math-only|-Ofast\b", "fast-math"),
    (r"ffp-contract=(?!off\b)|fmad=true|ftz=true|prec-div=false|prec-sqrt=false|mdaz-ftz", "another arithmetic"),
]
CODE = EVERYWHERE + [
    (r"#\s*pragma\s+omp\b(?:[^\n]*\\\n)*[^\n]*\breduction\s*\(", "OpenMP reduction: its order follows the threads"),
    (r"#\s*pragma\s+omp\s+atomic\b", "OpenMP atomic"),
    (r"\batomic(_ref)?\s*<\s*(const\s+)?(volatile\s+)?(long\s+)?(float|double)\b", "atomic on floating point"),
    (r"\batomicAdd\w*\s*\(\s*\(?\s*(float|double|__half)", "atomic on floating point"),
    (r"#\s*pragma\s+(GCC\s+optimize|STDC\s+FP_CONTRACT|clang\s+fp|float_control)", "flags set inside a file"),
    (r"__attribute__\s*\(\s*\(\s*optimize", "flags set inside a file"),
    (r"\bstd::\w+_distribution\b", "distribution of the standard library: not the same everywhere"),
    (r"\bstd::(random_)?shuffle\b|\branges::shuffle\b", "shuffle of the standard library"),
    (r"\brandom_device\b", "unseeded randomness"),
    (r"(?<![\w.>:])(std::)?((rand|drand48|lrand48)\s*\(\s*\)|srand\s*\()", "C library randomness"),
]


def check(path, text):
    code = path.endswith(files.CODE)
    if code:
        text = files.without_comments(text)
    elif not path.endswith(".json"):
        text = re.sub(r"(?m)(^|\s)#.*$", "", text)
    for pattern, reason in CODE if code else EVERYWHERE:
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path}:{line}: {reason}: {' '.join(match.group(0).split())}"


def main(root):
    folders = ["sim", "ref", "gpu", "eval", "tests", "cmake"]
    paths = [path for path in files.walk(root, folders, files.CODE + files.BUILD) if not path.startswith("tests/lint/")]
    paths += ["CMakeLists.txt", "CMakePresets.json"]
    files.finish("sources", len(paths), [problem for path in paths for problem in check(path, files.read(root, path))])


if __name__ == "__main__":
    main(sys.argv[1])
