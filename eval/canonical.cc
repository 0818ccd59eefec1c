#include "eval/canonical.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "sim/api/error.h"

namespace kvx::eval {
namespace {

// As `explain` allows them.
constexpr int64_t kMaxHeads = 65536;
constexpr int64_t kMaxHeadDim = 65536;

// Layer of "layers.N.NAME", or of NAME itself; N as it is printed, without leading zeros.
std::optional<LayerName> layer_of(std::string_view text, std::string_view name) {
  if (text == name) return LayerName{};
  constexpr std::string_view kStart = "layers.";
  if (!text.starts_with(kStart)) return std::nullopt;
  const std::string_view rest = text.substr(kStart.size());
  LayerName found;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), found.layer);
  if (error != std::errc() || found.layer < 0) return std::nullopt;
  found.prefix = fmt::format("layers.{}.", found.layer);
  if (text != found.prefix + std::string(name)) return std::nullopt;
  return found;
}

size_t values_per_entry(const BatchShape& shape) {
  return static_cast<size_t>(shape.kv_heads * shape.tokens * shape.head_dim);
}

// [kv heads][tokens][head dim] of one batch entry.
template <class T>
RowsView<T> rows_of(T* values, const BatchShape& shape, int64_t entry) {
  return {values + static_cast<size_t>(entry) * values_per_entry(shape),
          shape.tokens,
          static_cast<int>(shape.kv_heads),
          static_cast<int>(shape.head_dim),
          shape.head_dim,
          shape.tokens * shape.head_dim};
}

std::string entry_text(int64_t entry, int64_t batch) {
  return batch > 1 ? fmt::format("batch entry {}: ", entry) : "";
}

// A list of another length than those of the batch entries before: zeros fill up the shorter ones.
void add_list(Tensor& tensor, int64_t length, std::span<const std::byte> bytes) {
  const int64_t before = tensor.shape[1], longest = std::max(before, length);
  const size_t width = length > 0
                           ? bytes.size() / static_cast<size_t>(length)
                           : tensor.bytes.size() / static_cast<size_t>(tensor.shape[0] * before);
  const auto padded = [&](std::span<const std::byte> entry) {
    std::vector<std::byte> out(entry.begin(), entry.end());
    out.resize(static_cast<size_t>(longest) * width);
    return out;
  };
  std::vector<std::byte> all;
  for (int64_t i = 0; i <= tensor.shape[0]; ++i) {
    const size_t size = static_cast<size_t>(before) * width;
    const auto entry = padded(
        i < tensor.shape[0]
            ? std::span<const std::byte>(tensor.bytes).subspan(static_cast<size_t>(i) * size, size)
            : bytes);
    all.insert(all.end(), entry.begin(), entry.end());
  }
  tensor.bytes = std::move(all);
  tensor.shape = {tensor.shape[0] + 1, longest};
}

void add_entry(TensorMap& all, const std::string& name, const std::string& dtype,
               const std::vector<int64_t>& shape, std::span<const std::byte> bytes, int64_t entry) {
  Tensor& tensor = all[name];
  if (entry == 0) {
    tensor.dtype = dtype;
    tensor.shape = {0};
    tensor.shape.insert(tensor.shape.end(), shape.begin(), shape.end());
  }
  if (shape.size() == 1 && tensor.shape.size() == 2 && shape[0] != tensor.shape[1]) {
    add_list(tensor, shape[0], bytes);
    return;
  }
  if (tensor.shape[0] != entry ||
      !std::equal(shape.begin(), shape.end(), tensor.shape.begin() + 1, tensor.shape.end()))
    throw environment_error(fmt::format("tensor '{}' has another shape in batch entry {}: {}", name,
                                        entry, type_text(dtype, shape)));
  ++tensor.shape[0];
  tensor.bytes.insert(tensor.bytes.end(), bytes.begin(), bytes.end());
}

// One batch entry of a file's tensors, as LayerCache::import_from asks for them.
class EntrySource {
 public:
  EntrySource(const TensorFile& file, std::string prefix, int64_t entry, int64_t batch)
      : file_(file), prefix_(std::move(prefix)), entry_(entry), batch_(batch) {}

  const ArtifactTensor* operator()(const std::string& name) {
    const ArtifactTensor* all = file_.find(prefix_ + name);
    if (all == nullptr) return nullptr;
    if (all->shape.empty() || all->shape[0] != batch_)
      throw environment_error(fmt::format("tensor '{}{}' is {}, not of batch {}", prefix_, name,
                                          type_text(all->dtype, all->shape), batch_));
    const size_t bytes = all->bytes.size() / static_cast<size_t>(batch_);
    part_ = {all->dtype,
             {all->shape.begin() + 1, all->shape.end()},
             all->bytes.subspan(static_cast<size_t>(entry_) * bytes, bytes)};
    return &part_;
  }

 private:
  const TensorFile& file_;
  std::string prefix_;
  int64_t entry_;
  int64_t batch_;
  ArtifactTensor part_;
};

}  // namespace

std::vector<LayerName> find_layers(const TensorFile& file, const std::string& name) {
  std::vector<LayerName> layers;
  for (const auto& [text, tensor] : file.tensors())
    if (const auto layer = layer_of(text, name)) layers.push_back(*layer);
  if (layers.empty())
    throw environment_error(
        fmt::format("{}: no tensor '{}' or 'layers.N.{}'", file.source(), name, name));
  std::sort(layers.begin(), layers.end(), [](const LayerName& a, const LayerName& b) {
    return std::pair(a.layer, a.prefix) < std::pair(b.layer, b.prefix);
  });
  return layers;
}

BatchShape batch_shape(const TensorFile& file, const std::string& name) {
  const ArtifactTensor* tensor = file.find(name);
  if (tensor == nullptr)
    throw environment_error(fmt::format("{}: tensor '{}' is missing", file.source(), name));
  const std::vector<int64_t>& s = tensor->shape;
  if (s.size() != 4 || *std::min_element(s.begin(), s.end()) < 1 || s[1] > kMaxHeads ||
      s[3] > kMaxHeadDim)
    throw environment_error(fmt::format(
        "{}: tensor '{}' is {}, not [batch, kv heads (to {}), tokens, head dim (to {})]",
        file.source(), name, type_text(tensor->dtype, s), kMaxHeads, kMaxHeadDim));
  return {s[0], s[1], s[2], s[3]};
}

std::unique_ptr<StoredCache> CacheMaker::operator()(const LayerName& layer,
                                                    const BatchShape& shape) const {
  CacheConfig made = config;
  made.shape = {layer.layer, static_cast<int>(shape.kv_heads), static_cast<int>(shape.head_dim)};
  return factory(made);
}

TensorMap encode_layer(const CacheMaker& make, const LayerName& layer, const BatchShape& shape,
                       std::span<const float> k, std::span<const float> v) {
  const auto cache = make(layer, shape);
  TensorMap all;
  for (int64_t entry = 0; entry < shape.batch; ++entry) {
    const Span span{.seq = cache->open(), .first = 0, .count = shape.tokens};
    try {
      cache->append(rows_of(k.data(), shape, entry), rows_of(v.data(), shape, entry), {&span, 1});
    } catch (const Error& error) {
      throw Error(error.exit(), entry_text(entry, shape.batch) + error.what());
    }
    cache->export_to(span.seq,
                     [&](const std::string& name, const std::string& dtype,
                         const std::vector<int64_t>& part, std::span<const std::byte> bytes) {
                       add_entry(all, layer.prefix + name, dtype, part, bytes, entry);
                     });
    cache->close(span.seq);
  }
  return all;
}

TensorMap decode_layer(const CacheMaker& make, const LayerName& layer, const TensorFile& file) {
  // `sealed` [batch, kv heads, tokens] is there whatever the scheme; the head dim is that of codes,
  // or of the values where there are none.
  const std::string first = layer.prefix + "k.codes";
  const BatchShape shape =
      batch_shape(file, file.find(first) != nullptr ? first : layer.prefix + "k.decoded");
  const auto cache = make(layer, shape);
  const size_t values = static_cast<size_t>(shape.batch) * values_per_entry(shape);
  std::vector<std::byte> out[2];
  for (auto& bytes : out) bytes.resize(values * sizeof(float));
  for (int64_t entry = 0; entry < shape.batch; ++entry) {
    SeqId seq;
    try {
      seq = cache->import_from(shape.tokens, EntrySource(file, layer.prefix, entry, shape.batch));
    } catch (const Error& error) {
      throw Error(error.exit(),
                  fmt::format("{}: {}{}{}", file.source(),
                              layer.prefix.empty() ? "" : fmt::format("layer {}: ", layer.layer),
                              entry_text(entry, shape.batch), error.what()));
    }
    for (const Side side : {Side::kK, Side::kV}) {
      const auto data = reinterpret_cast<float*>(out[static_cast<size_t>(side)].data());
      const Rows rows = rows_of(data, shape, entry);
      for (const RowRange& range : cache->held(seq, side))
        cache->read(seq, side, range, rows.slice(range.first, range.count));
    }
    cache->close(seq);
  }
  TensorMap all;
  const std::vector<int64_t> dims{shape.batch, shape.kv_heads, shape.tokens, shape.head_dim};
  for (const Side side : {Side::kK, Side::kV})
    all[layer.prefix + side_name(side)] = {"F32", dims, std::move(out[static_cast<size_t>(side)])};
  return all;
}

}  // namespace kvx::eval
