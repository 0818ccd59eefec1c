// Caches that break one law each. The laws must catch them: laws_broken is a suite that fails, run
// by tester_test.cc.
#include <algorithm>
#include <map>

#include "sim/api/forwarding_cache.h"
#include "tests/laws/suite.h"

namespace kvx::laws {
namespace {

class Wrapper : public ForwardingCache<StoredCache> {
 public:
  using ForwardingCache::ForwardingCache;

  SeqId restore(int64_t length, std::span<const std::byte> image) override {
    return inner().restore(length, image);
  }
  std::vector<LayoutEntry> layout(int64_t length) const override { return inner().layout(length); }
  std::string policy(Side side) const override { return inner().policy(side); }
  SeqId import_from(int64_t length, const TensorSource& source) override {
    return inner().import_from(length, source);
  }

 protected:
  // Appends with the last row of k replaced by ones and twos.
  void append_spoilt(ConstRows k, ConstRows v, std::span<const Span> spans) {
    test::Tensor other(k.tokens, k.heads, k.dim);
    for (int64_t t = 0; t < k.tokens; ++t) {
      for (int head = 0; head < k.heads; ++head) {
        float* row = other.view().row(t, head);
        std::copy_n(k.row(t, head), k.dim, row);
        for (int c = 0; c < k.dim && t + 1 == k.tokens; ++c) {
          row[c] = static_cast<float>(1 + c % 2);
        }
      }
    }
    inner().append(std::as_const(other).view(), v, spans);
  }
};

struct LongChunksAreSpoilt final : Wrapper {
  using Wrapper::Wrapper;
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    !spans.empty() && spans[0].first > 0 && spans[0].count >= 7 ? append_spoilt(k, v, spans)
                                                                : Wrapper::append(k, v, spans);
  }
};

struct CompanySpoils final : Wrapper {
  using Wrapper::Wrapper;
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    spans.size() > 1 ? append_spoilt(k, v, spans) : Wrapper::append(k, v, spans);
  }
};

struct SealedBytesChange final : Wrapper {
  using Wrapper::Wrapper;
  std::vector<std::byte> image(SeqId seq) const override {
    auto bytes = Wrapper::image(seq);
    if (length(seq) >= 64) bytes[0] ^= std::byte{1};
    return bytes;
  }
};

struct CodesAreNotThoseOfTheScale final : Wrapper {
  using Wrapper::Wrapper;
  void export_to(SeqId seq, const Sink& sink) const override {
    Wrapper::export_to(seq,
                       [&](const std::string& name, const std::string& dtype,
                           const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
                         std::vector<std::byte> copy(bytes.begin(), bytes.end());
                         if (name == "v.codes" && shape[1] >= 10) copy[5] ^= std::byte{1};
                         sink(name, dtype, shape, copy);
                       });
  }
};

struct CountsAByteTooMany final : Wrapper {
  using Wrapper::Wrapper;
  ByteCount used(SeqId seq, Side side) const override {
    ByteCount bytes = Wrapper::used(seq, side);
    if (length(seq) > 50) bytes[Item::kScale] += 1;
    return bytes;
  }
};

struct AttentionIsOff final : Wrapper {
  using Wrapper::Wrapper;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    Wrapper::attend(q, spans, out);
    if (!spans.empty() && spans[0].first + spans[0].count > 30)
      out.row(out.tokens - 1, 0)[0] += 1.0f;
  }
};

struct ForksDieTogether final : Wrapper {
  using Wrapper::Wrapper;
  SeqId fork(SeqId seq) override { return forks_[seq] = Wrapper::fork(seq); }
  void close(SeqId seq) override {
    Wrapper::close(seq);
    if (forks_.count(seq) != 0) Wrapper::close(forks_[seq]);
  }
  std::map<SeqId, SeqId> forks_;
};

struct TruncatesOneTokenLess final : Wrapper {
  using Wrapper::Wrapper;
  void truncate(SeqId seq, int64_t count) override {
    Wrapper::truncate(seq, std::min(length(seq), count > 20 ? count + 1 : count));
  }
};

struct ImportsOnlyKeys final : Wrapper {
  using Wrapper::Wrapper;
  SeqId import_from(int64_t count, const TensorSource& source) override {
    return Wrapper::import_from(count, [&](const std::string& name) {
      return source(name == "v.codes" ? "k.codes" : name);
    });
  }
};

template <class Broken>
Subject broken(const char* name) {
  return {name, "int:k4v4", [](Windows windows) -> std::unique_ptr<StoredCache> {
            return std::make_unique<Broken>(test::make("int:k4v4", kHeads, kDim, windows));
          }};
}

INSTANTIATE_TEST_SUITE_P(
    , Laws,
    testing::Values(broken<Wrapper>("Nothing"), broken<LongChunksAreSpoilt>("LongChunksAreSpoilt"),
                    broken<CompanySpoils>("CompanySpoils"),
                    broken<SealedBytesChange>("SealedBytesChange"),
                    broken<CodesAreNotThoseOfTheScale>("CodesAreNotThoseOfTheScale"),
                    broken<CountsAByteTooMany>("CountsAByteTooMany"),
                    broken<AttentionIsOff>("AttentionIsOff"),
                    broken<ForksDieTogether>("ForksDieTogether"),
                    broken<TruncatesOneTokenLess>("TruncatesOneTokenLess"),
                    broken<ImportsOnlyKeys>("ImportsOnlyKeys")),
    subject_name);

}  // namespace
}  // namespace kvx::laws
