// The normalisation tables of a sentencepiece model. The library walks them unchecked, so they are
// checked before it sees them.
#pragma once

#include <string>
#include <string_view>

namespace kvx::model {

// `model_proto`: a serialised sentencepiece.ModelProto. Throws file_error(file, ...) where it is
// not in the proto2 wire format, or where a precompiled_charsmap (uint32 size, double-array trie as
// of darts-clone, NUL-terminated UTF-8 texts) has a path or a value that leads out of its bounds.
void check_normalisation_tables(std::string_view model_proto, const std::string& file);

}  // namespace kvx::model
