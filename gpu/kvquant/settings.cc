#include "gpu/kvquant/settings.h"

#include <cmath>
#include <string>

#include "sim/api/error.h"

namespace kvx::gpu::kvquant {
namespace {

Error refusal(const std::string& why) { return usage_error("kvquant: " + why); }

// The keys alone.
Settings read_keys(const Descriptor& descriptor) {
  const std::string type = descriptor.get_word("type");
  Settings s;
  s.type = type.starts_with("nuq") ? Type::kNuq : type.starts_with("nf") ? Type::kNf : Type::kInt;
  s.bits = type.back() - '0';
  s.outliers = descriptor.get_real("o");
  s.paper = descriptor.get_word("profile") == "paper";
  s.sink = static_cast<int32_t>(descriptor.find_int("s").value_or(s.paper ? 1 : 0));
  s.qnorm = descriptor.has_flag("qnorm");
  s.by_token = {descriptor.get_word("kaxis") == "token", descriptor.get_word("vaxis") == "token"};
  s.unrotated = descriptor.get_word("rope") == "pre";
  s.half_ranges = descriptor.get_word("zr") == "fp16";
  if (s.outliers > 0) {
    const double inverse = 2 / s.outliers, whole = std::round(inverse);
    if (inverse > 1e9 || whole < 1 || std::abs(inverse - whole) > 1e-9 * inverse) {
      throw refusal("o=" + descriptor.get_word("o") + ": 2/o must be a whole number up to 10^9");
    }
    s.quantile = static_cast<int64_t>(whole);
  }
  if (s.qnorm && s.type != Type::kNuq)
    throw refusal("qnorm moves a calibrated codebook; " + type + " has none");
  if (s.half_ranges && s.paper) throw refusal("zr=fp16 is of profile=repo alone");
  if (s.half_ranges && s.by_token[0] && s.by_token[1])
    throw refusal("zr=fp16 needs kaxis=channel or vaxis=channel");
  return s;
}

// What an artifact says that it was calibrated for.
void check_purpose(const Artifact& artifact, const Settings& wanted) {
  const std::string scheme = artifact.metadata("scheme");
  if (scheme.empty()) return;
  const std::string purpose = "cb=" + artifact.source() + " was calibrated for ";
  const auto parsed = [&] {
    try {
      return Descriptor::parse(scheme);
    } catch (const Error& error) {
      throw refusal(purpose + "what this program does not know: " + error.what());
    }
  }();
  const auto differs = [&](const std::string& how) {
    return refusal(purpose + parsed.str() + ": " + how);
  };
  if (parsed.name() != "kvquant") throw differs("another scheme");
  const Settings given = read_keys(parsed);
  if (given.quantile != wanted.quantile) throw differs("another fraction o of outliers");
  if (given.sink != wanted.sink) throw differs("another sink s");
  if (given.unrotated != wanted.unrotated) throw differs("another rope");
  if (wanted.type == Type::kNuq && given.by_token != wanted.by_token)
    throw differs("codebooks of another kaxis or vaxis");
}

}  // namespace

Settings read_settings(const Descriptor& descriptor, const LayerShape& shape) {
  const Settings settings = read_keys(descriptor);
  if (settings.unrotated && shape.head_dim % 2 != 0)
    throw refusal("rope=pre needs an even head dim, not " + std::to_string(shape.head_dim));
  return settings;
}

std::shared_ptr<const Artifact> find_artifact(const Descriptor& descriptor,
                                              const Settings& settings, const CacheConfig& config) {
  const std::string cb = descriptor.get_word("cb"), type = descriptor.get_word("type");
  const bool nuq = settings.type == Type::kNuq;
  const bool needed = nuq || !settings.by_token[0] || !settings.by_token[1];
  if (needed && cb.empty()) {
    throw refusal(type + (nuq ? "" : " with kaxis=channel or vaxis=channel") +
                  " needs cb=#hash or cb=path, the calibrated " +
                  (nuq ? "codebooks and ranges" : "ranges of channels"));
  }
  if (cb.empty()) return nullptr;
  if (!needed) throw refusal("cb=" + cb + " has no use with " + type + ",kaxis=token,vaxis=token");
  if (!cb.starts_with('#') || config.artifacts == nullptr)
    throw environment_error("kvquant: cb=" + cb + " is not loaded");
  auto artifact = config.artifacts(std::string_view(cb).substr(1));
  check_purpose(*artifact, settings);
  return artifact;
}

}  // namespace kvx::gpu::kvquant
