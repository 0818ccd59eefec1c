// Non-owning strided views of K, V, Q and attention outputs.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

namespace kvx {

// Rows of `dim` contiguous binary32 values, indexed [token][head]. Strides are in elements.
template <class T>
struct RowsView {
  T* data = nullptr;
  int64_t tokens = 0;
  int heads = 0;
  int dim = 0;
  int64_t token_stride = 0;
  int64_t head_stride = 0;

  T* row(int64_t token, int head) const { return data + token * token_stride + head * head_stride; }
  RowsView slice(int64_t first, int64_t count) const {
    return {data + first * token_stride, count, heads, dim, token_stride, head_stride};
  }
  template <class U>
  requires std::is_same_v<U, const T>
  operator RowsView<U>() const { return {data, tokens, heads, dim, token_stride, head_stride}; }
};

using ConstRows = RowsView<const float>;
using Rows = RowsView<float>;

// View of a dense array [tokens][heads][dim].
template <class T>
RowsView<T> dense_rows(T* data, int64_t tokens, int heads, int dim) {
  return {data, tokens, heads, dim, int64_t{heads} * dim, dim};
}

}  // namespace kvx
