"""Other compilers, optimisation levels and instruction sets give the same bits.

Builds kvx_hash_vectors in scratch folders, one per compiler and flags, and compares what each prints with the golden hashes, for the best
instruction set of this machine and for AVX2. Usage: cross_build.py ROOT SCRATCH GOLDEN [--all] [--update]

Without --all only the build by another compiler is made: each takes minutes, and the test hash.this_build compares the release
build. --update makes all."""

import difflib
import os
import shutil
import subprocess
import sys

# name, compiler, instruction set of everything but the AVX-512 kernels, flags of the build type
BUILDS = [
    ("gcc-O0", "g++", "-march=x86-64-v3", "-O0"),
    ("gcc-O3-native", "g++", "-march=native", "-O3"),
    ("clang-O3", "clang++", "-march=x86-64-v3", "-O3"),
]
SKIPPED = 77


def run(*command):
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{result.stdout[-4000:]}")
    return result.stdout


def build(root, folder, compiler, isa, flags):
    run("cmake", "-G", "Ninja", "-S", root, "-B", folder, f"-DCMAKE_CXX_COMPILER={compiler}", "-DCMAKE_BUILD_TYPE=Hash",
        f"-DCMAKE_CXX_FLAGS_HASH={flags}", f"-DKVX_ISA_BASE={isa}", "-DKVX_CUDA=OFF", "-DKVX_BENCHMARKS=OFF",
        "-DKVX_TESTS=ON", "-DKVX_ONE_OFF=ON")
    run("cmake", "--build", folder, "--target", "kvx_hash_vectors", "--parallel", str(os.cpu_count() or 1))
    return os.path.join(folder, "tests", "kvx_hash_vectors")


def main(root, scratch, golden_path, *options):
    missing, outputs = [], {}
    for name, compiler, isa, flags in BUILDS:
        if compiler == "g++" and not {"--all", "--update"} & set(options):
            continue
        if shutil.which(compiler) is None:
            missing.append(compiler)
            continue
        program = build(root, os.path.join(scratch, name), compiler, isa, flags)
        outputs[name] = run(program)
        outputs[name + ", AVX2"] = run(program, "avx2")
    if "--update" in options:
        if not os.environ.get("KVX_DATA"):
            sys.exit("KVX_DATA is not set: the golden file would lack the real model")
        if len(set(outputs.values())) != 1:
            sys.exit("the builds differ: no golden written")
        with open(golden_path, "w", encoding="utf-8") as file:
            file.write(next(iter(outputs.values())))
    with open(golden_path, encoding="utf-8") as file:
        golden = file.read()
    if not os.environ.get("KVX_DATA"):  # the folder that holds the real model
        golden = "".join(line for line in golden.splitlines(True) if not line.startswith("stories260K"))
    different = [name for name, output in outputs.items() if output != golden]
    for name in different:
        lines = difflib.unified_diff(golden.splitlines(), outputs[name].splitlines(), "golden", name, lineterm="", n=0)
        print("\n".join(lines))
    print(f"{len(outputs)} runs, {len(different)} differ from the golden hashes")
    if different:
        sys.exit(1)
    if missing:
        print(f"not installed: {', '.join(missing)}")
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main(*sys.argv[1:])
