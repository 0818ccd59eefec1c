// What this program was built from and with; recorded in results and printed by `kvx doctor`.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace kvx::eval {

struct BuildInfo {
  std::string version;   // of the program: "0.1.0"
  std::string compiler;  // "GNU 12.2.0"
  std::string flags;     // those that every file is compiled with
  std::vector<std::pair<std::string, std::string>> libraries;  // name, version
};

const BuildInfo& build_info();

struct HostInfo {
  std::string name;
  std::string cpu;  // the processor's own name
  std::string isa;  // instruction set of the vectorised kernels: "avx2", "avx512"
};

HostInfo host_info();

}  // namespace kvx::eval
