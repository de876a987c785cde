#include "calc/format.h"

#include <array>
#include <charconv>

namespace calc {

std::string Format(double number) {
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), number);
  static_cast<void>(error);  // 32 characters hold every shortest double
  return std::string(text.data(), end);
}

}  // namespace calc
