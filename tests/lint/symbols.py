"""Objects that decide bits call no transcendental function of the C library. Usage: symbols.py NM OBJECT_OR_ARCHIVE...

Square root, fma and exact functions (ceil, floor, ldexp, ...) are IEEE operations and may stay."""

import re
import subprocess
import sys

import files

NAMES = """exp exp2 exp10 expm1 pow pow10 log log2 log10 log1p sin cos tan sincos sinpi cospi asin acos atan atan2 sinh cosh
tanh asinh acosh atanh cbrt hypot rsqrt erf erfc gamma lgamma lgamma_r tgamma j0 j1 jn y0 y1 yn""".split()
# double, float, long double; glibc's finite variants; vector variants of libmvec.
BANNED = re.compile(r"(_ZGV\w+_)?(__)?(c|_)?(" + "|".join(NAMES) + r")(f|l|f16|f32|f64|f128)?(_finite)?(@.*)?")


def undefined(nm, path):
    output = subprocess.run([nm, "--undefined-only", "--format=posix", path], check=True, capture_output=True, text=True)
    return {line.split()[0] for line in output.stdout.splitlines() if " U" in line}


def main(nm, *paths):
    problems = [
        f"{path}: calls {symbol}"
        for path in paths
        for symbol in sorted(undefined(nm, path))
        if BANNED.fullmatch(symbol)
    ]
    files.finish("symbols", len(paths), problems)


if __name__ == "__main__":
    main(*sys.argv[1:])
