// calc_test CASES REPORT: checks each line 'EXPRESSION = VALUE' or 'EXPRESSION ! MESSAGE' of CASES.
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>

#include "calc/evaluator.h"
#include "calc/format.h"

namespace {

std::string ResultOf(const std::string& expression) {
  try {
    return "= " + calc::Format(calc::Evaluate(expression));
  } catch (const std::exception& error) {
    return std::string("! ") + error.what();
  }
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::cerr << "usage: calc_test CASES REPORT\n";
    return 2;
  }
  std::ifstream cases(arguments[1]);
  std::ofstream report(arguments[2]);
  int passed = 0;
  int failed = 0;
  for (std::string line; std::getline(cases, line);) {
    const std::size_t split = line.find_last_of("=!");
    if (split == std::string::npos || split == 0) continue;
    const std::string expected = line.substr(split);
    const std::string actual = ResultOf(line.substr(0, split - 1));
    ++(actual == expected ? passed : failed);
    report << (actual == expected ? "pass: " : "FAIL: ") << line << '\n';
    if (actual != expected) std::cerr << line << ": got " << actual << '\n';
  }
  std::cout << passed << " passed, " << failed << " failed\n";
  return passed > 0 && failed == 0 ? 0 : 1;
}
