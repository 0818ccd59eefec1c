// kvx_gradients MODEL IDSFILE: loss of one window of token ids (little-endian int32) and its
// gradients, for comparison with others. On stdout: the loss as binary64; then of every layer, the
// last one first, dL/dK before rotation and dL/dV as binary32 [tokens][kv heads][head dim]. On
// stderr the seconds it took.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/model/loss_gradient.h"
#include "tests/support/temp_dir.h"

namespace {

int write_gradients(const std::string& model_path, const std::string& ids_path) {
  using Clock = std::chrono::steady_clock;
  const std::string bytes = kvx::test::read_file(ids_path);
  std::vector<int32_t> tokens(bytes.size() / sizeof(int32_t));
  std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(int32_t));
  const auto checkpoint = kvx::model::Checkpoint::open(model_path);
  const kvx::model::Model model(*checkpoint);
  kvx::model::CpuLossGradient gradient(model, kvx::ref::factory(kvx::Descriptor::parse("fp:f32")),
                                       0);
  std::vector<std::vector<float>> parts;
  const auto add = [&](kvx::ConstRows x) {
    parts.emplace_back(x.data, x.data + x.tokens * x.heads * x.dim);
  };
  const auto begin = Clock::now();
  const double loss = gradient.run(tokens, [&](const kvx::model::KvGradient& layer) {
    add(layer.dk_pre);
    add(layer.dv);
  });
  std::fprintf(stderr, "%.3f s\n", std::chrono::duration<double>(Clock::now() - begin).count());
  std::fwrite(&loss, sizeof loss, 1, stdout);
  for (const auto& part : parts) std::fwrite(part.data(), sizeof part[0], part.size(), stdout);
  return std::fflush(stdout) == 0 ? 0 : static_cast<int>(kvx::Exit::kNotSaved);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: kvx_gradients MODEL IDSFILE\n");
    return static_cast<int>(kvx::Exit::kUsage);
  }
  try {
    return write_gradients(argv[1], argv[2]);
  } catch (const kvx::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.exit());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(kvx::Exit::kEnvironment);
  }
}
