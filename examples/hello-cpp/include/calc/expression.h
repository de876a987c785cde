#pragma once

#include <memory>
#include <string>
#include <vector>

namespace calc {

// A node of the syntax tree: a number, or a function (or operator) of other nodes.
struct Expression {
  double number = 0;
  std::string function;  // empty for a number
  std::vector<std::unique_ptr<Expression>> arguments;
  std::size_t position = 0;
};

}  // namespace calc
