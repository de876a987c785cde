// Prints how often each word of the standard input occurs.
#include <iostream>
#include <sstream>

#include "text/counter.h"

int main() {
  std::stringstream content;
  content << std::cin.rdbuf();
  for (const auto& entry : text::CountWords(content.str())) {
    std::cout << entry.second << ' ' << entry.first << '\n';
  }
  return 0;
}
