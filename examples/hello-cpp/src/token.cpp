#include "calc/token.h"

#include <cctype>
#include <string>

#include "calc/error.h"

namespace calc {
namespace {

bool IsDigit(char character) { return std::isdigit(static_cast<unsigned char>(character)) != 0; }
bool IsLetter(char character) { return std::isalpha(static_cast<unsigned char>(character)) != 0; }

std::size_t SkipDigits(std::string_view expression, std::size_t position) {
  while (position < expression.size() && IsDigit(expression[position])) ++position;
  return position;
}

TokenKind KindOf(char character, std::size_t position) {
  switch (character) {
    case '(': return TokenKind::kOpen;
    case ')': return TokenKind::kClose;
    case ',': return TokenKind::kComma;
    case '+': case '-': case '*': case '/': case '^': return TokenKind::kOperator;
    default: throw Error(std::string("unexpected '") + character + "'", position);
  }
}

}  // namespace

std::vector<Token> Tokenize(std::string_view expression) {
  std::vector<Token> tokens;
  std::size_t start = 0;
  while (start < expression.size()) {
    const char first = expression[start];
    std::size_t end = start + 1;
    if (first == ' ') {
      start = end;
      continue;
    }
    TokenKind kind;
    if (IsDigit(first)) {
      kind = TokenKind::kNumber;
      end = SkipDigits(expression, end);
      if (end < expression.size() && expression[end] == '.') end = SkipDigits(expression, end + 1);
    } else if (IsLetter(first)) {
      kind = TokenKind::kName;
      while (end < expression.size() && IsLetter(expression[end])) ++end;
    } else {
      kind = KindOf(first, start);
    }
    tokens.push_back({kind, std::string(expression.substr(start, end - start)), start});
    start = end;
  }
  tokens.push_back({TokenKind::kEnd, "", expression.size()});
  return tokens;
}

}  // namespace calc
