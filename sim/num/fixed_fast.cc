#include "sim/num/fixed.h"
namespace kvx::num::fixed {
void attend(const Head& head, std::span<const Query> queries) { plain::attend(head, queries); }
}
