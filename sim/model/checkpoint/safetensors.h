// safetensors: 8-byte little-endian header length, JSON header (dtype, shape, data_offsets), then
// the data.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "sim/model/checkpoint/file.h"
#include "sim/model/checkpoint/tensor_table.h"

namespace kvx::model {

// All tensors by name. Throws unless every tensor is exactly as long as shape and dtype ask for and
// the tensors cover the data without overlap, hole or remainder, as the format demands.
std::vector<std::pair<std::string, StoredTensor>> read_safetensors(const MappedFile& file);

// The header's "__metadata__", empty if there is none. Throws unless every value is a string.
std::map<std::string, std::string> read_safetensors_metadata(const MappedFile& file);

}  // namespace kvx::model
