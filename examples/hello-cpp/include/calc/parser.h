#pragma once

#include <memory>
#include <string_view>

#include "calc/expression.h"

namespace calc {

// Parses +, -, *, /, ^ with the usual precedence, parentheses and calls. Throws calc::Error.
std::unique_ptr<Expression> Parse(std::string_view expression);

}  // namespace calc
