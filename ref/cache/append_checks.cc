#include "ref/cache/append_checks.h"

#include <stdexcept>
#include <string>

#include "ref/cache/elements.h"

namespace kvx::ref {
namespace {

void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

}  // namespace

void check_spans(const LayerShape& shape, ConstRows rows, std::span<const Span> spans,
                 const char* name) {
  int64_t tokens = 0;
  for (const Span& span : spans) {
    require(span.count >= 0, "span of negative count");
    tokens += span.count;
  }
  if (rows.tokens != tokens || rows.heads <= 0 || rows.heads % shape.kv_heads != 0 ||
      rows.dim != shape.head_dim) {
    throw std::logic_error(std::string(name) + " is not of the shape of spans and layer");
  }
}

void check_append(const LayerShape& shape, ConstRows k, ConstRows v, std::span<const Span> spans,
                  const std::function<int64_t(SeqId)>& length) {
  check_spans(shape, k, spans, "append: k");
  check_spans(shape, v, spans, "append: v");
  for (size_t i = 0; i < spans.size(); ++i) {
    require(spans[i].first == length(spans[i].seq), "append: span does not start at the end");
    for (size_t j = 0; j < i; ++j) {
      require(spans[i].seq != spans[j].seq, "append: two spans of one sequence");
    }
  }
  require(k.heads == shape.kv_heads && v.heads == shape.kv_heads,
          "append: rows of another number of heads");
}

Error not_finite(const LayerShape& shape, Side side, int head, int64_t token, int64_t channel,
                 float value, InputType input) {
  return environment_error("layer " + std::to_string(shape.layer) + ", " + side_name(side) +
                           ", head " + std::to_string(head) + ", token " + std::to_string(token) +
                           ", channel " + std::to_string(channel) + ": " + std::to_string(value) +
                           " is not finite in " + element_name(input));
}

}  // namespace kvx::ref
