"""Every lint finds what it is for and stays silent otherwise. Usage: selftest.py CXX NM"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import device_code
import flags
import includes
import sources

CXX, NM = sys.argv[1:3]
HERE = os.path.dirname(os.path.abspath(__file__))


def run(script, *arguments):
    return subprocess.run([sys.executable, os.path.join(HERE, script), *arguments], capture_output=True, text=True)


class Includes(unittest.TestCase):
    def test_allowed(self):
        for path, line in [
            ("sim/api/a.h", "<vector>"),
            ("sim/api/a.h", '"sim/api/error.h"'),
            ("sim/num/a.cc", "<immintrin.h>"),
            ("sim/gen/a.cc", '"sim/num/rope.h"'),
            ("sim/model/a/b.cc", "<nlohmann/json.hpp>"),
            ("sim/model/a.cc", "<omp.h>"),
            ("ref/kivi.cc", '"ref/kivi.h"'),
            ("ref/kivi.cc", '"ref/cache/prefix_cache.h"'),
            ("gpu/kivi.cu", '"gpu/common/pack.cuh"'),
            ("gpu/kivi.cu", "<cuda_runtime.h>"),
            ("eval/a.cc", '"ref/registry.h"'),
        ]:
            self.assertEqual(list(includes.check(path, f"#include {line}\n")), [], (path, line))

    def test_forbidden(self):
        for path, line in [
            ("sim/api/a.h", '"sim/num/formats.h"'),
            ("sim/api/a.h", "<immintrin.h>"),
            ("sim/api/a.h", "<nlohmann/json.hpp>"),
            ("sim/num/a.cc", "<omp.h>"),
            ("sim/num/a.cc", "<Eigen/Core>"),
            ("sim/num/a.cc", '"sim/gen/fill.h"'),
            ("sim/gen/a.cc", '"sim/model/engine.h"'),
            ("sim/gen/a.cc", '"ref/registry.h"'),
            ("sim/model/a.cc", '"ref/registry.h"'),
            ("sim/model/a/b.cc", '"eval/cli.h"'),
            ("ref/kivi.cc", '"ref/kvquant.h"'),
            ("ref/cache/a.cc", '"ref/kivi.h"'),
            ("ref/kivi.cc", "<Eigen/Core>"),
            ("ref/kivi.cc", '"sim/model/engine.h"'),
            ("ref/kivi.cc", '"kvquant.h"'),
            ("gpu/kivi.cu", '"ref/kivi.h"'),
            ("gpu/kivi.cu", '"sim/num/formats.h"'),
            ("eval/a.cc", '"ref/kivi.h"'),
            ("eval/a.cc", '"gpu/kivi.h"'),
            ("eval/a.cc", "<Eigen/Core>"),
            ("eval/a.cc", "HEADER"),
            ("other/a.cc", "<vector>"),
        ]:
            found = list(includes.check(path, f"// first line\n#include {line}\n"))
            self.assertEqual(len(found), 1, (path, line))
            if not path.startswith("other"):
                self.assertIn(":2:", found[0])
        self.assertEqual(list(includes.check("sim/api/a.h", "// #include <omp.h>\n")), [])


class Sources(unittest.TestCase):
    def test_allowed(self):
        for text in [
            "#pragma omp parallel for schedule(static)",
            "std::atomic<int64_t> count;",
            "// std::shuffle would not do, nor -ffast-math",
            "x.rand(); brand(2); operand (3); generator->random(); std::minstd_rand random(5); random();",
            '#pragma GCC diagnostic ignored "-Wuninitialized"',
        ]:
            self.assertEqual(list(sources.check("sim/num/a.cc", text)), [], text)
        self.assertEqual(list(sources.check("cmake/a.cmake", "add_compile_options(-ffp-contract=off) # no -ffast-math")), [])

    def test_forbidden(self):
        for text in [
            "#pragma omp parallel for reduction(+ : sum)",
            "#pragma omp parallel for \\\n    reduction(+ : sum)",
            "#pragma omp atomic",
            "std::atomic<float> sum;",
            "std::atomic_ref<double> sum(x);",
            "std::normal_distribution<float> normal;",
            "std::shuffle(a, b, g);",
            "std::ranges::shuffle(a, g);",
            "std::random_device seed;",
            "int x = rand();",
            "int x = std::rand();",
            "srand(1);",
            "#pragma GCC optimize(\"O3\")",
            "__attribute__((optimize(\"O3\")))",
            "#pragma STDC FP_CONTRACT ON",
        ]:
            self.assertEqual(len(list(sources.check("sim/num/a.cc", text))), 1, text)
        for text in ["add_compile_options(-ffast-math)", "-Ofast", "--use_fast_math", "-ffp-contract=fast", "-fmad=true"]:
            self.assertEqual(len(list(sources.check("cmake/a.cmake", text))), 1, text)

    def test_a_planted_tree(self):
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(os.path.join(root, "sim/num"))
            for name in ["CMakeLists.txt", "CMakePresets.json", "sim/num/a.cc"]:
                open(os.path.join(root, name), "w", encoding="utf-8").close()
            self.assertEqual(run("sources.py", root).returncode, 0)
            self.assertEqual(run("includes.py", root).returncode, 0)
            with open(os.path.join(root, "sim/num/a.cc"), "w", encoding="utf-8") as file:
                file.write("#include <omp.h>\nint x = rand();\n")
            self.assertEqual(run("sources.py", root).returncode, 1)
            self.assertEqual(run("includes.py", root).returncode, 1)
        with tempfile.TemporaryDirectory() as empty:
            self.assertEqual(run("includes.py", empty).returncode, 2)


class Flags(unittest.TestCase):
    def test_flags(self):
        good = ["c++", "-O3", "-ffp-contract=off", "-c", "a.cc"]
        self.assertEqual(list(flags.check("a.cc", good)), [])
        self.assertEqual(len(list(flags.check("a.cc", ["c++", "-c", "a.cc"]))), 1)
        self.assertEqual(len(list(flags.check("a.cc", good + ["-ffp-contract=fast"]))), 1)
        self.assertEqual(len(list(flags.check("a.cc", good + ["-ffast-math"]))), 1)
        self.assertEqual(len(list(flags.check("a.cu", good))), 1)
        self.assertEqual(list(flags.check("a.cu", ["nvcc", "-fmad=false"])), [])

    def test_a_planted_database(self):
        with tempfile.TemporaryDirectory() as root:
            database = os.path.join(root, "compile_commands.json")
            for command, expected in [("c++ -ffp-contract=off -c a.cc", 0), ("c++ -c a.cc", 1)]:
                with open(database, "w", encoding="utf-8") as file:
                    json.dump([{"directory": root, "file": "a.cc", "command": command}], file)
                self.assertEqual(run("flags.py", root, database).returncode, expected)


class Symbols(unittest.TestCase):
    def lint(self, code):
        with tempfile.TemporaryDirectory() as folder:
            source, archive = os.path.join(folder, "a.cc"), os.path.join(folder, "a.o")
            with open(source, "w", encoding="utf-8") as file:
                file.write("#include <cmath>\n" + code)
            subprocess.run([CXX, "-std=c++20", "-O2", "-fno-math-errno", "-march=x86-64-v3", "-c", source, "-o", archive], check=True)
            return run("symbols.py", NM, archive)

    def test_allowed(self):
        self.assertEqual(self.lint("float f(float x) { return std::fma(x, std::sqrt(x), std::ceil(x)); }").returncode, 0)
        # A function of ours that bears the name.
        self.assertEqual(self.lint("namespace kvx { float exp(float); float f(float x) { return exp(x); } }").returncode, 0)

    def test_forbidden(self):
        symbols = {"std::exp(x)": "expf", "std::exp2(x)": "exp2f", "std::log(x)": "logf", "std::tanh(x)": "tanhf",
                   "std::cos(x)": "cosf", "std::cbrt(x)": "cbrtf", "std::lgamma(x)": "lgammaf", "std::pow(y, y)": "pow",
                   "std::hypot(y, y)": "hypot", "std::log2(y)": "log2", "std::sin(y)": "sin", "std::exp(z)": "expl"}
        calls = [f"double f{i}(float x, double y, long double z) {{ return {call}; }}" for i, call in enumerate(symbols)]
        result = self.lint("\n".join(calls))
        self.assertEqual(result.returncode, 1)
        for symbol in symbols.values():
            self.assertIn(f"calls {symbol}\n", result.stdout)


class DeviceCode(unittest.TestCase):
    def ptx(self, line):
        return device_code.check_ptx("k", f".visible .entry k(\n.param .u64 p\n)\n{{\n{line}\n}}\n")

    def test_ptx_allowed(self):
        for line, fused in [
            ("fma.rn.f32 %f1, %f2, %f3, %f4;", True),
            ("@%p1 add.rn.f32 %f1, %f2, %f3;", False),
            ("div.rn.f32 %f1, %f2, %f3;", True),
            ("sqrt.rn.f32 %f1, %f2;", True),
            ("add.rz.f32 %f1, %f2, %f3;", False),
            ("max.NaN.f32 %f1, %f2, %f3;", False),
            ("setp.lt.f32 %p1, %f2, %f3;", False),
            ("cvt.rn.f16.f32 %rs1, %f1;", False),
            ("atom.global.min.u64 %rd1, [%rd2], %rd3;", False),
            ("add.s32 %r1, %r2, %r3;", False),
        ]:
            self.assertEqual(self.ptx(line), ([], fused), line)

    def test_ptx_forbidden(self):
        for line in [
            "add.f32 %f1, %f2, %f3;",
            "@!%p1 mul.f32 %f1, %f2, %f3;",
            "sub.f64 %fd1, %fd2, %fd3;",
            "mul.rn.ftz.f32 %f1, %f2, %f3;",
            "fma.rz.f32 %f1, %f2, %f3, %f4;",
            "ex2.approx.f32 %f1, %f2;",
            "div.full.f32 %f1, %f2, %f3;",
            "atom.global.add.f32 %f1, [%rd1], %f2;",
            "red.shared.add.f32 [%rd1], %f2;",
        ]:
            self.assertNotEqual(self.ptx(line)[0], [], line)

    def test_ptx_kernels(self):
        text = ".visible .entry a(\n)\n{\n{ neg.f16x2 %r1,%r2;\n}\nfma.rn.f32 %f1, %f2, %f3, %f4;\n}\n.func b()\n{\nret;\n}\n"
        kernels = dict(device_code.ptx_kernels(text))
        self.assertEqual(list(kernels), ["a", "b"])
        self.assertEqual(device_code.check_ptx("a", kernels["a"]), ([], True))
        self.assertEqual(device_code.check_ptx("b", kernels["b"]), ([], False))

    def sass(self, lines, fused=True):
        text = "".join(f"        /*{16 * i:04x}*/   {line} ;\n" for i, line in enumerate(lines))
        return device_code.check_sass("k", text, fused)

    def test_sass_allowed(self):
        root = ["MUFU.RSQ R9, R0", "FMUL.FTZ R11, R0, R9", "FMUL.FTZ R9, R9, 0.5"]
        division = ["CALL.REL.NOINC 0x20", "EXIT", "@P0 FADD.FTZ R2, R0, R3", "FSETP.NEU.FTZ.AND P0, PT, R9, R12, PT"]
        reciprocal = ["MUFU.RCP R2, R3", "FFMA R4, R3, R2, -1", "FADD.FTZ R4, -R4, -RZ", "FFMA R2, R2, R4, R2"]
        integers = ["F2I.FTZ.U32.TRUNC.NTZ R2, R3"]
        for lines in [root, division, reciprocal, integers, ["FFMA R0, R1, R2, R3"], ["ATOMG.E.MIN.64.STRONG.GPU PT, R2, [R4], R6"]]:
            self.assertEqual(self.sass(lines), [], lines)

    def test_sass_forbidden(self):
        for lines, fused in [
            (["FADD.FTZ R2, R0, R3"], True),
            (["FADD.FTZ R2, -R0, -R3"], True),
            (["F2I.FTZ.S64.TRUNC R2, R3"], True),
            (["FMUL.FTZ R2, R0, R3"], True),
            (["MUFU.RSQ R9, R0"] + 3 * ["FMUL.FTZ R11, R0, R9"], True),
            (["REDG.E.ADD.F32.RN.STRONG.GPU desc[UR6][R2.64], R11"], True),
            (["@P0 ATOMS.ADD.F64 R2, [R4], R6"], True),
            (["FFMA R0, R1, R2, R3"], False),
        ]:
            self.assertNotEqual(self.sass(lines, fused), [], lines)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
