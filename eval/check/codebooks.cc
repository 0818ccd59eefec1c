#include "eval/check/codebooks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "sim/gen/random.h"
#include "sim/num/formats.h"

namespace kvx::check {
namespace {

class Codebooks final : public Artifact {
 public:
  explicit Codebooks(std::string_view hash) : hash_(hash) {}
  std::string source() const override { return "codebooks of #" + hash_; }
  std::string sha256() const override { return hash_ + std::string(64 - hash_.size() % 64, '0'); }
  const ArtifactTensor* find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

  template <class T>
  void set(const std::string& name, const char* dtype, const std::vector<T>& values) {
    std::vector<std::byte>& bytes = storage_[name];
    bytes.resize(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    tensors_[name] = {dtype, {static_cast<int64_t>(values.size())}, bytes};
  }

 private:
  std::string hash_;
  std::map<std::string, std::vector<std::byte>> storage_;
  std::map<std::string, ArtifactTensor, std::less<>> tensors_;
};

// Distinct multiples of 1/32 in [-1, 1], ascending.
std::vector<float> codebook(const gen::Source& source, size_t codes) {
  std::vector<int> steps;
  for (uint64_t i = 0; steps.size() < codes; ++i) {
    const int step = static_cast<int>(source.words(i)[0] % 65) - 32;
    if (std::find(steps.begin(), steps.end(), step) == steps.end()) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  std::vector<float> book;
  for (const int step : steps) book.push_back(static_cast<float>(step) / 32.0f);
  return book;
}

// The ends of one channel's range.
std::pair<float, float> range(const gen::Words& w) {
  const auto fraction = [](uint32_t word) { return static_cast<float>(word >> 9) * 0x1p-23f; };
  const uint32_t kind = w[0] % 16;
  if (kind == 1) return {-0x1p-20f * fraction(w[1]), 0x1p-19f * fraction(w[2])};
  float half = std::ldexp(1.0f, static_cast<int>(w[1] % 13) - 6);
  if (w[2] % 2 == 1) half *= 1.0f + fraction(w[2]);
  if (kind == 0) half = 0.0f;
  const float middle = w[3] % 2 == 0 ? 0.0f : (4.0f * fraction(w[3]) - 2.0f) * (half + 0.5f);
  return {middle - half, middle + half};
}

}  // namespace

std::shared_ptr<const Artifact> made_codebooks(const Descriptor& descriptor, std::string_view hash,
                                               int64_t channels) {
  uint64_t seed = 0;
  for (const char c : hash) seed = seed * 31 + static_cast<unsigned char>(c);
  auto made = std::make_shared<Codebooks>(hash);
  const auto codes = size_t{1} << (descriptor.get_word("type").back() - '0');
  const bool unsorted = descriptor.get_word("profile") == "repo" && hash.back() % 2 == 1;
  for (uint32_t side = 0; side < 2; ++side) {
    const std::string prefix = side == 0 ? "layers.0.k." : "layers.0.v.";
    std::vector<float> book = codebook({seed, side, 0}, codes);
    if (unsorted) std::rotate(book.begin(), book.begin() + 1, book.end());
    std::vector<uint16_t> lo, hi;
    for (int64_t j = 0; j < channels; ++j) {
      const auto [low, high] = range(gen::Source{seed, side, 1}.words(static_cast<uint64_t>(j)));
      lo.push_back(num::f16_encode(low));
      hi.push_back(num::f16_encode(high));
    }
    const gen::Words w = gen::Source{seed, side, 2}.words(0);
    made->set(prefix + "codebook", "F32", book);
    made->set(prefix + "qnorm", "F32",
              std::vector<float>{0.9f + static_cast<float>(w[0] % 1024) * 0x1p-12f,
                                 static_cast<float>(w[1] % 1024) * 0x1p-14f - 0.03f});
    made->set(prefix + "lo", "F16", lo);
    made->set(prefix + "hi", "F16", hi);
  }
  return made;
}

}  // namespace kvx::check
