// Data for programs on standard output, text for people on standard error.
#pragma once

#include <string_view>

namespace kvx::eval {

// To standard output. Throws a not-saved Error.
void print(std::string_view text);

// To standard error. A full disk or a closed terminal there costs no result: failures are ignored.
void tell(std::string_view text);

}  // namespace kvx::eval
