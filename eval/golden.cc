#include "eval/golden.h"

#include <fmt/core.h>

#include <cctype>
#include <cstring>

#include "eval/files.h"
#include "eval/scheme_options.h"
#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::eval {
namespace {

// [batch, kv heads, tokens, head dim] out of the fill's [tokens][kv heads][head dim].
Tensor filled(const GoldenInput& in, uint32_t side) {
  const BatchShape& s = in.shape;
  const auto dim = static_cast<size_t>(s.head_dim), heads = static_cast<size_t>(s.kv_heads);
  const size_t width = in.dtype == "F16" ? 2 : 4;
  Tensor out{in.dtype, {s.batch, s.kv_heads, s.tokens, s.head_dim}, {}};
  std::vector<float> rows(static_cast<size_t>(s.tokens) * heads * dim);
  std::vector<uint16_t> bits(dim);
  for (uint32_t entry = 0; entry < s.batch; ++entry) {
    gen::fill(in.fill, in.seed, 2 * entry + side,
              {static_cast<int>(s.kv_heads), static_cast<int>(s.head_dim)}, 0, rows);
    for (size_t head = 0; head < heads; ++head) {
      for (size_t token = 0; token < static_cast<size_t>(s.tokens); ++token) {
        const std::span<const float> row(&rows[(token * heads + head) * dim], dim);
        if (width == 2) num::f16_encode(row, bits);
        const auto bytes = width == 2 ? std::as_bytes(std::span(bits)) : std::as_bytes(row);
        out.bytes.insert(out.bytes.end(), bytes.begin(), bytes.end());
      }
    }
  }
  return out;
}

}  // namespace

std::string GoldenInput::stem() const {
  return fmt::format("{}-{}x{}x{}x{}-{}-s{}", gen::fill_name(fill), shape.batch, shape.kv_heads,
                     shape.tokens, shape.head_dim, dtype == "F16" ? "f16" : "f32", seed);
}

TensorMap make_input(const GoldenInput& input) {
  return {{"k", filled(input, 0)}, {"v", filled(input, 1)}};
}

std::string file_stem(const std::string& text) {
  std::string stem = text;
  for (char& c : stem)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '.') c = '-';
  return stem;
}

TensorMap make_case(const GoldenCase& golden, const TensorFile& input, const Descriptor& scheme,
                    const ArtifactStore& store) {
  return encode_layer(cache_maker(store, scheme, golden.mode, golden.nonfinite), {},
                      batch_shape(input, "k"), widened(*input.find("k"), "k"),
                      widened(*input.find("v"), "v"));
}

GoldenTensor described(const Tensor& tensor) {
  return {tensor.dtype, tensor.shape, sha256_hex(std::span(tensor.bytes))};
}

TensorFile open_golden_file(const Golden& golden, const std::string& file,
                            const std::string& sha256) {
  TensorFile opened(golden.path(file));
  if (const std::string found = opened.sha256(); found != sha256)
    throw environment_error(
        fmt::format("{}: SHA-256 is {}, the manifest says {}", opened.source(), found, sha256));
  return opened;
}

}  // namespace kvx::eval
