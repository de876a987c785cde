#include "text/counter.h"

#include <fstream>
#include <iostream>
#include <sstream>

int main() {
  std::ifstream file("text/sample.txt");
  if (!file) {
    std::cerr << "text/sample.txt is not in the runfiles\n";
    return 1;
  }
  std::stringstream content;
  content << file.rdbuf();
  const int count = text::CountWords(content.str())["build"];
  if (count != 3) {
    std::cerr << "'build' occurs " << count << " times, expected 3\n";
    return 1;
  }
  return 0;
}
