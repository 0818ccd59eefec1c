#include <string>
#include <vector>

#include "eval/cli.h"

int main(int argc, char** argv) {
  return kvx::eval::run_program(std::vector<std::string>(argv + 1, argv + argc));
}
