// Backward pass of exact causal attention over one window, in binary32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/api/tensor.h"
#include "sim/model/buffer.h"

namespace kvx::model {

class AttentionBackward {
 public:
  explicit AttentionBackward(int threads) : threads_(threads) {}

  // With s_ij = q_i . k_j / sqrt(d), p = softmax of s over j <= i, out_i = sum p_ij v_j: from
  // q [T][heads][d] and k, v [T][kv heads][d] (keys and queries rotated) and dout [T][heads][d] to
  // dq [T][heads][d] and dk, dv [T][kv heads][d], summed over the query heads of a KV head in
  // ascending order.
  void run(ConstRows q, ConstRows k, ConstRows v, ConstRows dout, Rows dq, Rows dk, Rows dv);

 private:
  int threads_;
  Buffer dk_heads_, dv_heads_;  // [heads][T][d]
};

}  // namespace kvx::model
