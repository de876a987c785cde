// calc EXPRESSION...: prints the value of each expression.
#include <exception>
#include <iostream>

#include "calc/evaluator.h"
#include "calc/format.h"

int main(int count, char** arguments) {
  if (count < 2) {
    std::cerr << "usage: calc EXPRESSION...\n";
    return 2;
  }
  for (int i = 1; i < count; ++i) {
    try {
      std::cout << arguments[i] << " = " << calc::Format(calc::Evaluate(arguments[i])) << '\n';
    } catch (const std::exception& error) {
      std::cerr << arguments[i] << ": " << error.what() << '\n';
      return 1;
    }
  }
  return 0;
}
