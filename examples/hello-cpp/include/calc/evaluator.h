#pragma once

#include <string_view>

#include "calc/expression.h"

namespace calc {

// The value of a syntax tree. Throws calc::Error for a function nobody knows.
double Evaluate(const Expression& expression);

// Parses and evaluates.
double Evaluate(std::string_view expression);

}  // namespace calc
