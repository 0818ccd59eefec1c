// PrefixCache: what arithmetic `fixed` reads.
#include "ref/cache/prefix_cache.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::ref {

void PrefixCache::unpack(Side side, Store& store, int64_t block) const {
  if (config_.arithmetic != Arithmetic::kFixed) return;
  const SideScheme& s = scheme(side);
  const auto block_bytes = static_cast<size_t>(s.coder->bytes());
  const int heads = config_.shape.kv_heads;
  const auto blocks = static_cast<int64_t>(store.sealed.size() / block_bytes) / heads;
  CanonicalBlock content;
  for (; block < blocks; ++block) {
    for (int head = 0; head < heads; ++head) {
      const auto at = static_cast<size_t>(block * heads + head) * block_bytes;
      s.coder_of(head).canonical(std::span(store.sealed).subspan(at, block_bytes), content);
      const auto bad = store.affine.append(head, *s.affine, content);
      if (!bad) continue;
      const size_t channel =
          *bad * static_cast<size_t>(s.affine->along_tokens ? 1 : s.affine->group);
      throw infinite_scale(config_.shape.layer, side, head, block * s.coder->tokens(),
                           static_cast<int64_t>(channel));
    }
  }
}

AffineRows PrefixCache::affine(SeqId seq, Side side, int kv_head) const {
  const SideScheme& s = scheme(side);
  require(config_.arithmetic == Arithmetic::kFixed, "affine: not under arithmetic fixed");
  require(kv_head >= 0 && kv_head < config_.shape.kv_heads, "affine: no such head");
  return find(seq).sides[static_cast<size_t>(side)].affine.rows(kv_head, *s.affine);
}

}  // namespace kvx::ref
