#include "gpu/gradient/transposed.h"

#include <iterator>

namespace kvx::gpu {
namespace {

// A file's matrix within a projection: outputs [first, first + count), which one part holds.
struct Matrix {
  const Projection* projection;
  int64_t first, count;

  const Projection::Part& part() const {
    auto at = projection->parts.begin();
    while (std::next(at) != projection->parts.end() && std::next(at)->column <= first) ++at;
    return *at;
  }
  DeviceWeights transposed() const {
    return part().weights.transposed(first - part().column, count);
  }
  int64_t bytes() const {
    return DeviceWeights::bytes(projection->inputs, count, part().weights.type());
  }
};

struct LayerMatrices {
  Matrix q, k, v, o, gate, up, down;

  LayerMatrices(const DeviceLayer& w, const model::ModelConfig& c)
      : q{&w.qkv, 0, c.heads * c.head_dim},
        k{&w.qkv, q.count, c.kv_heads * c.head_dim},
        v{&w.qkv, k.first + k.count, k.count},
        o{&w.o, 0, c.hidden},
        gate{&w.gate_up, 0, c.ffn},
        up{&w.gate_up, c.ffn, c.ffn},
        down{&w.down, 0, c.hidden} {}
};

Matrix head_of(const DeviceModel& model) { return {&model.head(), 0, model.config().vocab}; }

}  // namespace

TransposedModel::TransposedModel(const DeviceModel& model) : head(head_of(model).transposed()) {
  for (const DeviceLayer& layer : model.layers()) {
    const LayerMatrices m(layer, model.config());
    layers.push_back({m.q.transposed(), m.k.transposed(), m.v.transposed(), m.o.transposed(),
                      m.gate.transposed(), m.up.transposed(), m.down.transposed()});
  }
}

int64_t TransposedModel::bytes(const DeviceModel& model) {
  int64_t total = head_of(model).bytes();
  for (const DeviceLayer& layer : model.layers()) {
    const LayerMatrices m(layer, model.config());
    for (const Matrix& matrix : {m.q, m.k, m.v, m.o, m.gate, m.up, m.down}) total += matrix.bytes();
  }
  return total;
}

}  // namespace kvx::gpu
