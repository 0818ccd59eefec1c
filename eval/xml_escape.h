// Text inside XML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace kvx::eval {

// The text with &, <, > and " as entities.
std::string xml_escape(std::string_view text);

}  // namespace kvx::eval
