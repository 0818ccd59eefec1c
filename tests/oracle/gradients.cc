// kvx_gradients MODEL IDSFILE: loss of one window of token ids (little-endian int32) and its
// gradients, for comparison with others. On stdout: the loss as binary64; then of every layer, the
// last one first, dL/dK before rotation and dL/dV as binary32 [tokens][kv heads][head dim]. On
// stderr the seconds it took.
#include <chrono>

#include "ref/registry.h"
#include "sim/model/loss_gradient.h"
#include "tests/oracle/window_program.h"

namespace {

void write_gradients(const kvx::model::Checkpoint& checkpoint, const std::vector<int32_t>& tokens) {
  using Clock = std::chrono::steady_clock;
  const kvx::model::Model model(checkpoint);
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
}

}  // namespace

int main(int argc, char** argv) {
  return kvx::test::window_program(argc, argv, "kvx_gradients", write_gradients);
}
