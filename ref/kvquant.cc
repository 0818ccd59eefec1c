// kvquant: codes that index a codebook, keys per channel before rotation, values per token, exact
// outliers and sink (KVQuant, arXiv 2401.18079). Details, layout and worked examples:
// ref/kvquant.md; the parts are in ref/kvquant/.
//
// Open choices:
// - A range is the stored pair (lo, hi) of fp16 numbers; offset and half range are made from it
//   wherever they are needed.
// - Codes of values that are not finite follow from one order of fp16 numbers, NaN above all.
// - Every token but the sink is sealed when it is appended, before the read.
#include <utility>

#include "ref/cache/affine.h"
#include "ref/kvquant/cache.h"
#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::ref {
namespace {

using kvquant::Settings;

std::shared_ptr<const Artifact> artifact_of(const Descriptor& descriptor, const Settings& settings,
                                            const CacheConfig& config) {
  const std::string cb = descriptor.get_word("cb");
  if (cb.empty() && settings.calibrated()) {
    const bool codebook = settings.type == kvquant::Type::kNuq;
    throw usage_error("kvquant: " + descriptor.get_word("type") +
                      (codebook ? "" : " with kaxis=channel or vaxis=channel") +
                      " needs cb=#hash or cb=path, the calibrated " +
                      (codebook ? "codebooks and ranges" : "ranges of channels"));
  }
  if (cb.empty()) return nullptr;
  if (!settings.calibrated()) {
    throw usage_error("kvquant: cb=" + cb + " has no use with " + descriptor.get_word("type") +
                      ",kaxis=token,vaxis=token");
  }
  if (!cb.starts_with('#') || config.artifacts == nullptr) {
    throw environment_error("kvquant: cb=" + cb + " is not loaded");
  }
  auto artifact = config.artifacts(std::string_view(cb).substr(1));
  kvquant::check_calibration(settings, *artifact);
  return artifact;
}

}  // namespace

std::unique_ptr<StoredCache> make_kvquant(const Descriptor& descriptor, const CacheConfig& config) {
  refuse_fixed(descriptor, config, "its codes are places in a codebook");
  const Settings settings = kvquant::read_settings(descriptor);
  const LayerShape& shape = config.shape;
  const int64_t channels = int64_t{shape.kv_heads} * shape.head_dim;
  if (settings.pre_rope && shape.head_dim % 2 != 0) {
    throw usage_error("kvquant: rope=pre needs an even head dim, not " +
                      std::to_string(shape.head_dim));
  }
  const auto artifact = artifact_of(descriptor, settings, config);
  const auto coder = [&](Side side) {
    return kvquant::RowCoder(
        settings, side, kvquant::read_tables(settings, artifact.get(), shape.layer, side, channels),
        channels);
  };
  kvquant::RowCoder k = coder(Side::kK);
  kvquant::RowCoder v = coder(Side::kV);
  return std::make_unique<kvquant::Cache>(settings, config, std::move(k), std::move(v));
}

}  // namespace kvx::ref
