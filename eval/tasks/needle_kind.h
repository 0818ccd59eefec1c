// The kinds of the task `needle`: what is hidden, and what is asked for.
#pragma once

#include <string>

namespace kvx::eval {

struct NeedleKind {
  enum class Asks {
    kOneKey,      // single, multikeyN: the value of the first of N keys
    kOneKeysAll,  // multivalueN: the N values of one key
    kEveryKey,    // multiqueryN: the values of N keys
    kPasskey,     // passkey: the number hidden in filler
  };

  std::string name;  // "multikey4"
  Asks asks = Asks::kOneKey;
  int needles = 1;

  int keys() const { return asks == Asks::kOneKeysAll ? 1 : needles; }
  int answers() const { return asks == Asks::kOneKey || asks == Asks::kPasskey ? 1 : needles; }
  bool in_prose() const { return asks != Asks::kPasskey; }
};

// single, multikeyN, multivalueN, multiqueryN with N of 2 to 16, or passkey. Throws a usage Error
// naming them.
NeedleKind parse_needle_kind(const std::string& name);

}  // namespace kvx::eval
