// kvx_logits MODEL IDSFILE: logits of one unquantised pass over token ids (little-endian int32), as
// binary32 [tokens][vocabulary] on stdout, for comparison with others.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/model/engine.h"
#include "tests/support/temp_dir.h"

namespace {

int write_logits(const std::string& model_path, const std::string& ids_path) {
  const std::string bytes = kvx::test::read_file(ids_path);
  std::vector<int32_t> tokens(bytes.size() / sizeof(int32_t));
  std::memcpy(tokens.data(), bytes.data(), tokens.size() * sizeof(int32_t));
  const auto checkpoint = kvx::model::Checkpoint::open(model_path);
  const kvx::model::Model model(*checkpoint);
  kvx::model::Engine engine(model, kvx::ref::factory(kvx::Descriptor::parse("fp:f32")),
                            kvx::model::CacheMode::kStreamed, 0);
  const kvx::model::Chunk chunk{.seq = engine.open(), .tokens = tokens};
  engine.forward({&chunk, 1}, [&](int64_t, int64_t rows, const float* logits) {
    std::fwrite(logits, sizeof *logits, static_cast<size_t>(rows * model.config().vocab), stdout);
  });
  return std::fflush(stdout) == 0 ? 0 : static_cast<int>(kvx::Exit::kNotSaved);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: kvx_logits MODEL IDSFILE\n");
    return static_cast<int>(kvx::Exit::kUsage);
  }
  try {
    return write_logits(argv[1], argv[2]);
  } catch (const kvx::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(error.exit());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return static_cast<int>(kvx::Exit::kEnvironment);
  }
}
