#pragma once

#include <stdexcept>
#include <string>

namespace calc {

// What is wrong with an expression, and where.
class Error : public std::runtime_error {
 public:
  Error(const std::string& what, std::size_t position)
      : std::runtime_error(what + " at position " + std::to_string(position)) {}
};

}  // namespace calc
