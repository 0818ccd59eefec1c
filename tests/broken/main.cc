// Runs the smoke cases of `kvx check` over kernels with one planted bug (faults.json) and passes
// where the bug is caught at the level it says. Usage: PROGRAM TESTS_INPUTS_FOLDER
#include <cstdio>
#include <string>

#include "eval/check/check.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace {

constexpr int kSkipped = 77;

int run(const std::string& inputs) {
  using namespace kvx;
  if (const std::string reason = gpu::unavailable(); !reason.empty()) {
    std::printf("%s: skipped: %s\n", KVX_FAULT, reason.c_str());
    return kSkipped;
  }
  // Families in arithmetic `fixed` are named so.
  const bool fixed = std::string_view(KVX_FAULT_CASES).find("fixed") != std::string_view::npos;
  const auto all = check::read_families(inputs, fixed ? Arithmetic::kFixed : Arithmetic::kIeee);
  const auto families = check::select(all, {true, KVX_FAULT_CASES});
  check::CheckOptions options;
  options.threads = 8;
  options.shrink_most = 0;
  const check::Report report =
      check::run_check(families, {"cuda", gpu::has_kernel, gpu::make_cache}, options);
  int64_t judged = 0, caught = 0;
  std::string first;
  for (const check::CaseResult& result : report.cases) {
    judged += result.judged ? 1 : 0;
    const std::string what = result.judgement.first();
    if (!what.starts_with(KVX_FAULT_LEVEL " ")) continue;
    if (caught++ == 0) first = check::case_text(result.one) + ": " + what;
  }
  std::printf("%-18s %s: %lld of %lld cases differ, %lld first at %s; %s\n", KVX_FAULT,
              caught > 0 ? "caught" : "NOT CAUGHT", static_cast<long long>(report.mismatches()),
              static_cast<long long>(judged), static_cast<long long>(caught), KVX_FAULT_LEVEL,
              first.c_str());
  return caught > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s TESTS_INPUTS_FOLDER\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvx::Error& error) {
    std::fprintf(stderr, "%s: %s\n", KVX_FAULT, error.what());
    return static_cast<int>(error.exit());
  }
}
