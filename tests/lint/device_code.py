"""The machine code of all kernels: what could move a bit and the source does not write.
Usage: device_code.py ARCHIVE_OR_BINARY   (exit 77: no cuobjdump; it is in the CUDA toolkit, in the PyPI package
nvidia-cuda-cuobjdump and beside Triton; KVX_CUOBJDUMP names it)

Of the PTX, where every operation still has the name that the source gave it:
  - every add, sub and mul of floats says how it rounds: one without is fused to an fma at the assembler's will
  - no .ftz (subnormals flushed), no .approx and no .full (another result than IEEE's), no .sat
  - no atomic or reduction in memory on floats: its order is the machine's
Of the SASS, what the assembler made of it:
  - no RED or ATOM on floats
  - .FTZ only where the assembler expands an IEEE division or square root: in its subroutines, in the two products
    that follow a MUFU.RSQ, in the negation between the two FFMA of a reciprocal; and in the quotient of integers
  - FFMA only in kernels whose PTX has an fma, a division or a square root
"""

import os
import re
import shutil
import subprocess
import sys

FLOAT = r"\.(f16|f16x2|bf16|bf16x2|f32|f64)\b"
PTX_OPERATION = re.compile(r"^\s*(?:@!?%p\d+\s+)?([a-z]\w*(?:\.\w+(?:::\w+)*)*)\s", re.MULTILINE)
PTX_KERNEL = re.compile(r"^(?:\.weak |\.visible |\.extern )*\s*(?:\.entry|\.func)\s", re.MULTILINE)
NAME = re.compile(r"(?:\.entry|\.func)\s+(?:\([^)]*\)\s*)?([\w$]+)")
SASS_FUNCTION = re.compile(r"^\s*Function : (\S+)$", re.MULTILINE)
SASS_LINE = re.compile(r"/\*([0-9a-f]{4,})\*/\s+((?:@!?U?P\w+\s+)?)([A-Z][\w.]*)\s*([^;]*);")


def ptx_kernels(text):
    """(name, text) of each; braces of a line of their own stand inside kernels too, so one ends where the next begins."""
    starts = [match.start() for match in PTX_KERNEL.finditer(text)]
    for begin, end in zip(starts, starts[1:] + [len(text)]):
        yield NAME.search(text, begin).group(1), text[begin:end]


def check_ptx(kernel, text):
    """Problems of one kernel's PTX, and whether it holds what the assembler makes FFMA of."""
    fused = False
    problems = []
    for match in PTX_OPERATION.finditer(text):
        operation = match.group(1)
        parts = operation.split(".")
        if not re.search(FLOAT, operation):
            continue
        name = parts[0]
        fused = fused or name in ("fma", "div", "sqrt", "rcp", "mad")
        if name in ("add", "sub", "mul") and not set(parts) & {"rn", "rz", "rm", "rp"}:
            problems.append(f"{kernel}: {operation}: the assembler may fuse it")
        if name == "mad" or (name == "fma" and "rn" not in parts):
            problems.append(f"{kernel}: {operation}: not an fma rounded to nearest")
        if name in ("atom", "red"):
            problems.append(f"{kernel}: {operation}: its order is the machine's")
        for suffix in ("ftz", "approx", "full", "sat"):
            if suffix in parts:
                problems.append(f"{kernel}: {operation}: .{suffix}")
    return problems, fused


def check_sass(kernel, text, fused):
    lines = [(int(a, 16), op, rest) for a, _, op, rest in SASS_LINE.findall(text)]
    calls = [int(rest.split()[-1], 16) for _, op, rest in lines if op.startswith("CALL") and "0x" in rest]
    subroutines = min(calls, default=1 << 62)
    problems = []
    roots = sum(op == "MUFU.RSQ" for a, op, _ in lines if a < subroutines)
    products = 0
    for address, operation, rest in lines:
        if re.match(r"(RED|ATOM)", operation) and re.search(r"\.(B?F16|F32|F64)", operation):
            problems.append(f"{kernel}+{address:#x}: {operation}: its order is the machine's")
        negation = operation == "FADD.FTZ" and re.fullmatch(r"R\d+, (-R\d+, -RZ|-RZ, -R\d+)", rest.strip())
        if negation or operation == "F2I.FTZ.U32.TRUNC.NTZ":
            continue
        if ".FTZ" in operation and address < subroutines:
            products += operation == "FMUL.FTZ"
            if operation != "FMUL.FTZ":
                problems.append(f"{kernel}+{address:#x}: {operation}: flushes subnormals")
        if operation.startswith("FFMA") and not fused:
            problems.append(f"{kernel}+{address:#x}: {operation}, but the source has no fma")
    if products > 2 * roots:
        problems.append(f"{kernel}: {products} FMUL.FTZ, of which square roots explain {2 * roots}")
    return problems


def dump(tool, what, path):
    done = subprocess.run([tool, what, path], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{tool} {what} {path}: {done.stderr.strip()}")
    return done.stdout


def main(path):
    tool = os.environ.get("KVX_CUOBJDUMP") or shutil.which("cuobjdump")
    if not tool:
        print("skipped: no cuobjdump (KVX_CUOBJDUMP)")
        return 77
    problems, fused = [], {}
    for kernel, text in ptx_kernels(dump(tool, "-ptx", path)):
        found, has_fma = check_ptx(kernel, text)
        problems += found
        fused[kernel] = has_fma
    parts = SASS_FUNCTION.split(dump(tool, "-sass", path))
    kernels = list(zip(parts[1::2], parts[2::2]))
    for kernel, text in kernels:
        if kernel not in fused:
            problems.append(f"{kernel}: machine code without PTX")
        problems += check_sass(kernel, text, fused.get(kernel, False))
    if not kernels:
        problems.append(f"{path}: no kernels")
    for problem in problems:
        print(problem)
    print(f"device_code: {len(kernels)} kernels, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
