// How much haystack a prompt of given length takes.
#pragma once

#include <cstdint>
#include <functional>

namespace kvx::eval {

// An n of 1 to `most` with tokens(n) <= room < tokens(n + 1), or `most`. tokens(1) <= room; tokens
// grows with n about linearly. It is asked for few n, for tokenizers are slow: 1, `start`, then
// where a straight line through the two nearest n known reaches `room`; the middle once the bracket
// is narrow, or after 12 of them.
int64_t largest_fitting(int64_t room, int64_t start, int64_t most,
                        const std::function<int64_t(int64_t)>& tokens);

}  // namespace kvx::eval
