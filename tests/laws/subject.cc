#include "tests/laws/subject.h"

#include <algorithm>

namespace kvx::laws {

using test::Tensor;

Subject registered(const std::string& descriptor, Arithmetic arithmetic) {
  const bool fixed = arithmetic == Arithmetic::kFixed;
  std::string name = descriptor + (fixed ? "_fixed" : "");
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
      '_');
  return {name,
          descriptor,
          [descriptor, arithmetic](Windows windows) {
            return test::make(descriptor, kHeads, kDim, windows, NonFinite::kRefuse, arithmetic);
          },
          {},
          !fixed};
}

Make drawn(const Subject& subject) {
  const Windows windows = *rc::gen::element(Windows::kKept, Windows::kNone).as("windows");
  return [make = subject.make, windows] { return make(windows); };
}

Input::Input(int64_t tokens, gen::Fill fill, uint64_t seed)
    : q(test::filled(gen::Fill::kNormal, seed, 0, tokens, kQueries, kDim)),
      k(test::filled(fill, seed, 1, tokens, kHeads, kDim)),
      v(test::filled(fill, seed, 2, tokens, kHeads, kDim)) {}

Input random_input(const Subject& subject, int64_t tokens) {
  using gen::Fill;
  // All that stay finite in every input type.
  const auto drawn = *rc::gen::element(Fill::kNormal, Fill::kHeavy, Fill::kRopeKeys,
                                       Fill::kConstant, Fill::kTies, Fill::kF16Ties, Fill::kZeros,
                                       Fill::kF16Subnormal, Fill::kF32Subnormal, Fill::kF16Extreme)
                          .as("fill");
  const bool large = drawn == Fill::kF16Extreme || drawn == Fill::kF16Ties;
  const Fill fill = large && !subject.extremes ? Fill::kHeavy : drawn;
  return Input(tokens, fill, *rc::gen::arbitrary<uint64_t>().as("seed"));
}

int64_t random_length(int64_t least) { return *rc::gen::inRange<int64_t>(least, 160).as("length"); }

std::vector<int64_t> random_chunks(int64_t tokens) {
  std::vector<int64_t> chunks;
  const int64_t longest = *rc::gen::element<int64_t>(160, 40, 3, 1).as("longest chunk");
  // Fewer chunks are simpler: shrinks go towards the longest.
  const auto chunk = rc::gen::map(rc::gen::inRange<int64_t>(0, longest),
                                  [longest](int64_t less) { return longest - less; });
  while (tokens > 0) {
    chunks.push_back(std::min(tokens, *rc::Gen<int64_t>(chunk).as("chunk")));
    tokens -= chunks.back();
  }
  return chunks;
}

std::vector<uint32_t> attend(const LayerCache& cache, const Input& input, const Span& span) {
  Tensor out(span.count, kQueries, kDim);
  cache.attend(input.q.view().slice(span.first, span.count), {&span, 1}, out.view());
  return test::patterns(out.values);
}

std::vector<uint32_t> feed(LayerCache& cache, SeqId seq, const Input& input, int64_t first,
                           int64_t count) {
  test::append(cache, seq, input.k, input.v, first, count);
  return attend(cache, input, {.seq = seq, .first = first, .count = count});
}

}  // namespace kvx::laws
