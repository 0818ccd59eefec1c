#include "eval/build_info.h"

#include <openssl/crypto.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "sim/num/isa.h"

namespace kvx::eval {

const BuildInfo& build_info() {
  static const BuildInfo info{KVX_VERSION,
                              KVX_COMPILER,
                              KVX_FLAGS,
                              {{"boost", KVX_BOOST_VERSION},
                               {"eigen", KVX_EIGEN_VERSION},
                               {"fmt", KVX_FMT_VERSION},
                               {"nlohmann-json", KVX_JSON_VERSION},
                               {"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)},
                               {"pcre2", KVX_PCRE2_VERSION},
                               {"sentencepiece", KVX_SENTENCEPIECE_VERSION}}};
  return info;
}

HostInfo host_info() {
  HostInfo host;
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) == 0) host.name = name.data();
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; host.cpu.empty() && std::getline(cpuinfo, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos)
      host.cpu = line.substr(colon + 2);
  }
  host.isa = num::active_isa() == num::Isa::kAvx512 ? "avx512" : "avx2";
  return host;
}

}  // namespace kvx::eval
