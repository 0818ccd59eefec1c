#include "tests/self/recoded.h"

#include <cstring>

#include "sim/num/formats.h"

namespace kvx::self {
namespace {

struct Tensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};
using Tensors = std::map<std::string, Tensor>;

template <class T>
std::vector<T> as(const Tensor& tensor) {
  std::vector<T> values(tensor.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

template <class T>
void put(const std::vector<T>& values, Tensor& tensor) {
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
}

void change(const Bug& bug, Side side, const std::vector<float>& x, Tensors& tensors) {
  const std::string prefix = std::string(side_name(side)) + ".";
  Tensor& codes = tensors.at(prefix + "codes");
  Tensor& scale = tensors.at(prefix + "scale");
  const auto zero = tensors.find(prefix + "zero");
  Content content{.side = side,
                  .heads = codes.shape[0],
                  .tokens = codes.shape[1],
                  .dim = codes.shape[2],
                  .groups = scale.shape[1],
                  .metadata = scale.shape[2],
                  .codes = as<uint8_t>(codes),
                  .scale = as<uint16_t>(scale),
                  .zero = {},
                  .sealed = as<uint8_t>(tensors.at(prefix + "sealed")),
                  .x = x};
  if (zero != tensors.end()) content.zero = as<uint16_t>(zero->second);
  bug(content);
  put(content.codes, codes);
  put(content.scale, scale);
  if (zero != tensors.end()) put(content.zero, zero->second);
}

}  // namespace

SeqId Recoded::fork(SeqId seq) {
  const SeqId id = Wrapper::fork(seq);
  rows_[id] = rows_[seq];
  return id;
}

void Recoded::append(ConstRows k, ConstRows v, std::span<const Span> spans) {
  Wrapper::append(k, v, spans);
  for (const Span& span : spans) changed_.erase(span.seq);
  int64_t at = 0;
  for (const Span& span : spans)
    for (int64_t t = 0; t < span.count; ++t, ++at)
      for (const ConstRows& rows : {k, v})
        for (int h = 0; h < rows.heads; ++h)
          for (int c = 0; c < rows.dim; ++c)
            rows_[span.seq][rows.data == k.data ? 0 : 1].push_back(
                num::f16_round(rows.row(at, h)[c]));
}

void Recoded::truncate(SeqId seq, int64_t length) {
  Wrapper::truncate(seq, length);
  changed_.erase(seq);
  const LayerShape& shape = config().shape;
  for (std::vector<float>& rows : rows_[seq])
    rows.resize(static_cast<size_t>(length * shape.kv_heads * shape.head_dim));
}

SeqId Recoded::changed(SeqId seq) const {
  if (const auto found = changed_.find(seq); found != changed_.end()) return found->second;
  Tensors tensors;
  inner().export_to(seq, [&](const std::string& name, const std::string& dtype,
                             const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
    tensors[name] = {dtype, shape, {bytes.begin(), bytes.end()}};
  });
  const auto rows = rows_.find(seq);
  if (rows != rows_.end() && length(seq) > 0) {
    change(bug_, Side::kK, rows->second[0], tensors);
    change(bug_, Side::kV, rows->second[1], tensors);
  }
  ArtifactTensor slot;
  const SeqId id =
      second_->import_from(length(seq), [&](const std::string& name) -> const ArtifactTensor* {
        const auto found = tensors.find(name);
        if (found == tensors.end()) return nullptr;
        slot = {found->second.dtype, found->second.shape, found->second.bytes};
        return &slot;
      });
  changed_[seq] = id;
  return id;
}

void Recoded::read(SeqId seq, Side side, RowRange range, Rows out) const {
  if (range.held == Held::kExact) return Wrapper::read(seq, side, range, out);
  second_->read(changed(seq), side, range, out);
}

std::vector<std::byte> Recoded::image(SeqId seq) const {
  if (shows_ == Shows::kWhenRead) return Wrapper::image(seq);
  return second_->image(changed(seq));
}

void Recoded::export_to(SeqId seq, const Sink& sink) const {
  const SeqId id = changed(seq);
  const auto some = [&](bool decoded) {
    return [&sink, decoded](const std::string& name, const std::string& dtype,
                            const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
      if (name.ends_with(".decoded") == decoded) sink(name, dtype, shape, bytes);
    };
  };
  second_->export_to(id, some(true));
  shows_ == Shows::kWhenRead ? Wrapper::export_to(seq, some(false))
                             : second_->export_to(id, some(false));
}

}  // namespace kvx::self
