// Golden vectors: a folder with inputs, the canonical tensors that schemes make of them, and
// manifest.json, which says how each was made and what its SHA-256 is.
//
//   manifest.json
//   input-FILL-BxHxTxD-DTYPE-sSEED.safetensors     k, v [B, H, T, D]
//   SCHEME.MODE.FILL-BxHxTxD-DTYPE-sSEED.safetensors   their canonical tensors
//   artifact-HASH.safetensors                      what the schemes' descriptors name
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "eval/artifacts.h"
#include "eval/canonical.h"
#include "sim/gen/fill.h"

namespace kvx::eval {

inline constexpr const char* kGoldenSchema = "kvx-golden/1";

// K and V as sim/gen makes them: batch entry b of K is tensor 2b of the fill, of V tensor 2b + 1,
// rounded to the dtype.
struct GoldenInput {
  gen::Fill fill = gen::Fill::kNormal;
  uint64_t seed = 1;
  std::string dtype = "F16";  // or F32
  BatchShape shape;
  std::string sha256;  // of the file

  std::string stem() const;  // FILL-BxHxTxD-DTYPE-sSEED
  std::string file() const { return "input-" + stem() + ".safetensors"; }
};

TensorMap make_input(const GoldenInput& input);

struct GoldenTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string sha256;  // of its bytes
};

struct GoldenCase {
  std::string name;    // also its file's, without ".safetensors"
  std::string scheme;  // canonical, with version
  std::string mode;    // streamed or all
  std::string nonfinite;
  size_t input = 0;  // index into Golden::inputs
  std::string sha256;
  std::map<std::string, GoldenTensor> tensors;

  std::string file() const { return name + ".safetensors"; }
};

struct Golden {
  std::string folder;
  std::vector<GoldenInput> inputs;
  std::vector<GoldenCase> cases;

  std::string path(const std::string& file) const { return folder + "/" + file; }
};

// "kivi@1:k2v2,r32" -> "kivi-1-k2v2-r32"
std::string file_stem(const std::string& text);

// The canonical tensors of a case. Throws what making the cache and appending throw.
TensorMap make_case(const GoldenCase& golden, const TensorFile& input, const Descriptor& scheme,
                    const ArtifactStore& store);

GoldenTensor described(const Tensor& tensor);

// manifest.json. Throws environment Errors naming file, field and value.
Golden read_golden(const std::string& folder);
// Throws a not-saved Error.
void write_manifest(const Golden& golden);

// Folders of goldens: `path` itself, or every folder in it that has a manifest.json. Throws an
// environment Error where there is none.
std::vector<std::string> golden_folders(const std::string& path);

// A file of the folder, after its hash was compared with the manifest's; environment Errors.
TensorFile open_golden_file(const Golden& golden, const std::string& file,
                            const std::string& sha256);

}  // namespace kvx::eval
