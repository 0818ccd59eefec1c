// kvquant: codebooks, calibrated ranges of channels or found ranges of tokens, exact outliers and
// sink, keys before rotation (ref/kvquant.md). Kernels: gpu/kvquant/.
#include <memory>
#include <stdexcept>
#include <utility>

#include "gpu/cache/attend.cuh"
#include "gpu/cache/canonical.h"
#include "gpu/cache/decode.cuh"
#include "gpu/common/memory.h"
#include "gpu/kvquant/canonical.h"
#include "gpu/kvquant/codec.cuh"
#include "gpu/kvquant/seal_channels.cuh"
#include "gpu/kvquant/seal_tokens.cuh"
#include "gpu/registry.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::gpu {
namespace kvquant {
namespace {

// Tables of one side in device memory.
struct DeviceTables {
  DeviceArray<float> codebook, decoded, positions;
  DeviceArray<Scale> scales;
  DeviceArray<uint16_t> bounds;
  DeviceArray<uint64_t> steps;

  DeviceTables() = default;
  DeviceTables(const Tables& tables, const std::vector<uint64_t>& rope_steps)
      : codebook(std::ssize(tables.codebook)),
        decoded(std::ssize(tables.decoded)),
        positions(std::ssize(tables.positions)),
        scales(std::ssize(tables.scales)),
        bounds(std::ssize(tables.bounds)),
        steps(std::ssize(rope_steps)) {
    codebook.upload(tables.codebook);
    decoded.upload(tables.decoded);
    positions.upload(tables.positions);
    scales.upload(tables.scales);
    bounds.upload(tables.bounds);
    steps.upload(rope_steps);
    check(cudaStreamSynchronize(nullptr), "tables of kvquant");
  }
};

class Kernels final : public SchemeKernels {
 public:
  Kernels(const Settings& settings, const CacheConfig& config, std::array<Tables, 2> tables)
      : canonical_(settings, config.shape, std::move(tables)) {
    traits_.keys = settings.unrotated ? KeySpace::kPreRope : KeySpace::kRotated;
    traits_.fixed_size = !settings.counted(Side::kK) && !settings.counted(Side::kV);
    // Without a device the host side still knows bytes and tensors.
    const bool device = unavailable().empty();
    for (const Side side : {Side::kK, Side::kV}) {
      const auto i = static_cast<size_t>(side);
      const bool rotates = side == Side::kK && settings.unrotated;
      if (device)
        memory_[i] = DeviceTables(canonical_.tables(side),
                                  rotates ? config.rope_steps : std::vector<uint64_t>());
      formats_[i] = format_of(settings, side, config.shape.head_dim);
      codecs_[i] = codec_of(side, config.shape);
    }
  }

  const Traits& traits() const override { return traits_; }
  const SideFormat& format(Side side) const override { return formats_[static_cast<size_t>(side)]; }
  double nominal_bits(Side) const override {
    return canonical_.settings().bits + 32 * canonical_.settings().outliers;
  }

  void append(const AppendArgs& args, cudaStream_t stream) const override {
    if (args.pass.span_count == 0 || args.pass.rows == 0) return;
    for (const Side side : {Side::kK, Side::kV}) {
      const auto i = static_cast<size_t>(side);
      const SealSide sealed(codecs_[i], args.view[i], side == Side::kK ? args.k : args.v,
                            static_cast<int>(i));
      if (codecs_[i].by_token) {
        seal_tokens(sealed, args.pass, args.non_finite, stream);
      } else {
        seal_channels(sealed, args.pass, args.non_finite, stream);
      }
    }
  }
  // The only exact rows are the sink's, which appending keeps.
  void settle(const AppendArgs&, cudaStream_t) const override {}

  int64_t attend_scratch_floats(const Pass& bounds, const CacheShape& shape,
                                int q_heads) const override {
    return gpu::attend_scratch_floats(bounds, shape, q_heads);
  }
  void attend(const AttendArgs& args, cudaStream_t stream) const override {
    if (canonical_.settings().unrotated && codecs_[0].steps == nullptr)
      throw std::logic_error("attend: keys before rotation, but no rotary steps");
    gpu::attend(codecs_[0], codecs_[1], args, stream);
  }
  void decode(const DecodeArgs& args, cudaStream_t stream) const override {
    Codec codec = codecs_[static_cast<size_t>(args.side)];
    codec.unrounded = args.unrounded;
    gpu::decode(codec, args, stream);
  }

  ByteCount used(Side side, int64_t length, int64_t outliers) const override {
    return canonical_.used(side, length, outliers);
  }
  std::vector<std::byte> table(Side side) const override { return canonical_.table(side); }
  void append_image(Side side, const std::vector<SealedHead>& heads,
                    std::vector<std::byte>& image) const override {
    canonical_.append_image(side, heads, image);
  }
  bool exports_unrounded() const override { return !canonical_.settings().paper; }
  void export_side(Side side, const std::vector<SealedHead>& heads, int64_t length,
                   const Sink& sink) const override {
    canonical_.export_side(side, heads, length, sink);
  }

 private:
  // A token's range lies with each of its heads' rows.
  static SideFormat format_of(const Settings& settings, Side side, int head_dim) {
    const int bytes = settings.token_range(side) ? 2 : 0;
    return {.bits = settings.bits,
            .group = head_dim,
            .scale_bytes = bytes,
            .zero_bytes = bytes,
            .sparse = settings.sparse(),
            .rule = {.sink = settings.sink}};
  }
  Codec codec_of(Side side, const LayerShape& shape) const {
    const Settings& settings = canonical_.settings();
    const Tables& tables = canonical_.tables(side);
    const DeviceTables& memory = memory_[static_cast<size_t>(side)];
    const bool by_token = settings.token_range(side);
    return {.bits = settings.bits,
            .integer = settings.integer(),
            .paper = settings.paper,
            .by_token = by_token,
            .half_product = settings.type == Type::kNf && settings.half_ranges && !by_token,
            .seeks = !settings.integer() && tables.positions[0] > 0.0f,
            .code_of_zero = tables.code_of_zero,
            .per_side =
                static_cast<int32_t>(settings.per_side(int64_t{shape.kv_heads} * shape.head_dim)),
            .codebook = memory.codebook.get(),
            .decoded = memory.decoded.get(),
            .positions = memory.positions.get(),
            .scales = memory.scales.get(),
            .bounds = memory.bounds.get(),
            .steps = memory.steps.get()};
  }

  Canonical canonical_;
  Traits traits_;
  DeviceTables memory_[2];  // what the codecs point into
  SideFormat formats_[2];
  Codec codecs_[2];
};

}  // namespace
}  // namespace kvquant

std::unique_ptr<SchemeKernels> make_kvquant(const Descriptor& descriptor,
                                            const CacheConfig& config) {
  refuse_fixed(descriptor, config, "its codes are places in a codebook");
  const kvquant::Settings settings = kvquant::read_settings(descriptor, config.shape);
  const auto artifact = kvquant::find_artifact(descriptor, settings, config);
  std::array<kvquant::Tables, 2> tables;
  for (const Side side : {Side::kK, Side::kV})
    tables[static_cast<size_t>(side)] =
        kvquant::make_tables(settings, artifact.get(), config.shape, side);
  require_head_dim(config.shape.head_dim);
  return std::make_unique<kvquant::Kernels>(settings, config, std::move(tables));
}

}  // namespace kvx::gpu
