#pragma once

#include <string>

namespace calc {

// The shortest decimal text that reads back as the same number.
std::string Format(double number);

}  // namespace calc
