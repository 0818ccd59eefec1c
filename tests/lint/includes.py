"""Who may include whom. Usage: includes.py ROOT"""

import re
import sys

import files

# The C++ standard library.
STANDARD = set("""algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes
climits clocale cmath compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint cstdio
cstdlib cstring ctime cuchar cwchar cwctype deque exception execution filesystem forward_list fstream functional future
initializer_list iomanip ios iosfwd iostream istream iterator latch limits list locale map memory memory_resource mutex new
numbers numeric optional ostream queue random ranges ratio regex scoped_allocator semaphore set shared_mutex
source_location span sstream stack stdexcept stop_token streambuf string string_view strstream system_error thread tuple
type_traits typeindex typeinfo unordered_map unordered_set utility valarray variant vector version""".split())

INTRINSICS = [r"cpuid\.h", r"immintrin\.h", r"xmmintrin\.h"]
POSIX = [r"unistd\.h", r"fcntl\.h", r"signal\.h", r"sys/.*\.h"]
CUDA = [r"cuda.*", r"cooperative_groups.*", r"cub/.*", r"mma\.h", r"nv/.*"]

# folder: (own headers, headers of systems and libraries beside the standard one). The longest matching folder counts.
# {stem} is the file's own name without its ending.
RULES = {
    "sim/api": ([r"sim/api/.*"], []),
    "sim/num": ([r"sim/api/.*", r"sim/num/.*"], INTRINSICS),
    "sim/gen": ([r"sim/api/.*", r"sim/num/.*", r"sim/gen/.*"], []),
    "sim/model": (
        [r"sim/.*"],
        INTRINSICS
        + POSIX
        + [r"omp\.h", r"Eigen/.*", r"boost/.*", r"fmt/.*", r"nlohmann/.*", r"openssl/.*", r"pcre2\.h", r"sentencepiece.*\.h", r"utf8proc\.h"],
    ),
    "ref": ([r"sim/api/.*", r"sim/num/.*", r"ref/cache/.*", r"ref/registry\.h", r"ref/{stem}\.h", r"ref/{stem}/.*"], []),
    "ref/kvquant": ([r"sim/api/.*", r"sim/num/.*", r"ref/cache/.*", r"ref/kvquant/.*"], []),
    "ref/cache": ([r"sim/api/.*", r"sim/num/.*", r"ref/cache/.*"], []),
    "gpu": ([r"sim/api/.*", r"sim/model/(checkpoint|config|kv_gradient|transformer)\.h", r"gpu/.*"], CUDA),
    "eval": (
        [r"sim/.*", r"eval/.*", r"ref/registry\.h", r"gpu/registry\.h", r"gpu/bench/registry\.h"],
        INTRINSICS + POSIX + [r"omp\.h", r"boost/.*", r"fmt/.*", r"kainjow/.*", r"nlohmann/.*", r"openssl/.*"],
    ),
}

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:([<"])([^>"]+)[>"]|([A-Za-z_]\w*))', re.MULTILINE)


def rule_of(path):
    folders = [folder for folder in RULES if path.startswith(folder + "/")]
    return RULES[max(folders, key=len)] if folders else None


def check(path, text):
    rule = rule_of(path)
    if rule is None:
        yield f"{path}: no rule says what this folder may include"
        return
    stem = re.escape(path.rsplit("/", 1)[-1].split(".", 1)[0])
    own = [pattern.replace("{stem}", stem) for pattern in rule[0]]
    for match in INCLUDE.finditer(files.without_comments(text)):
        bracket, name, macro = match.groups()
        line = text.count("\n", 0, match.start()) + 1
        if macro:
            yield f"{path}:{line}: include of a macro, {macro}"
        elif bracket == '"' and not any(re.fullmatch(pattern, name) for pattern in own):
            yield f'{path}:{line}: may not include "{name}"'
        elif bracket == "<" and name not in STANDARD and not any(re.fullmatch(p, name) for p in rule[1]):
            yield f"{path}:{line}: may not include <{name}>"


def main(root):
    paths = list(files.walk(root, ["sim", "ref", "gpu", "eval"], files.CODE))
    files.finish("includes", len(paths), [problem for path in paths for problem in check(path, files.read(root, path))])


if __name__ == "__main__":
    main(sys.argv[1])
