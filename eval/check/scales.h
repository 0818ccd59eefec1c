// What a case's descriptor names by hash (calibrated scales, codebooks), made from the hash, so
// that a case needs no file.
#pragma once

#include "eval/check/case.h"
#include "sim/api/artifact.h"

namespace kvx::check {

// Finds an artifact for any hash: for fp8 `layers.0.{k,v}.scale`, F32, one value or one a KV head
// as the case's scheme wants, between 2^-9 and 2^4; for kvquant what codebooks.h says.
Artifacts case_artifacts(const Case& one);

// The configuration of the case's cache; rotary steps are those of base 10000.
CacheConfig case_config(const Case& one);

}  // namespace kvx::check
