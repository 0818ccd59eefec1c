// kvx_logits MODEL IDSFILE: logits of one unquantised pass over token ids (little-endian int32), as
// binary32 [tokens][vocabulary] on stdout, for comparison with others.
#include "ref/registry.h"
#include "sim/model/engine.h"
#include "tests/oracle/window_program.h"

namespace {

void write_logits(const kvx::model::Checkpoint& checkpoint, const std::vector<int32_t>& tokens) {
  const kvx::model::Model model(checkpoint);
  kvx::model::Engine engine(model, kvx::ref::factory(kvx::Descriptor::parse("fp:f32")),
                            kvx::model::CacheMode::kStreamed, 0);
  const kvx::model::Chunk chunk{.seq = engine.open(), .tokens = tokens};
  engine.forward({&chunk, 1}, [&](int64_t, int64_t rows, const float* logits) {
    std::fwrite(logits, sizeof *logits, static_cast<size_t>(rows * model.config().vocab), stdout);
  });
}

}  // namespace

int main(int argc, char** argv) {
  return kvx::test::window_program(argc, argv, "kvx_logits", write_logits);
}
