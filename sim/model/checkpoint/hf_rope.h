// Rotary frequencies as config.json spells them.
#pragma once

#include "sim/model/checkpoint/json.h"
#include "sim/num/rope.h"

namespace kvx::model {

struct HfRope {
  double theta = 0;
  num::RopeScaling scaling;
};

// From rope_theta and rope_scaling, or rope_parameters of newer files, which holds both. Throws for
// a rule that is not computed (yarn, dynamic, longrope, partial rotation and others).
HfRope read_hf_rope(const JsonFields& config);

}  // namespace kvx::model
