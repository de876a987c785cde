#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace calc {

enum class TokenKind { kNumber, kName, kOperator, kOpen, kClose, kComma, kEnd };

struct Token {
  TokenKind kind;
  std::string text;
  std::size_t position;  // offset in the expression, for error messages
};

// Splits an expression into tokens, the last one always kEnd. Throws calc::Error.
std::vector<Token> Tokenize(std::string_view expression);

}  // namespace calc
