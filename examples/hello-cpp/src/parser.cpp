#include "calc/parser.h"

#include <utility>
#include <vector>

#include "calc/error.h"
#include "calc/token.h"

namespace calc {
namespace {

using Node = std::unique_ptr<Expression>;

int Precedence(const Token& token) {
  if (token.kind != TokenKind::kOperator) return 0;
  if (token.text == "+" || token.text == "-") return 1;
  if (token.text == "*" || token.text == "/") return 2;
  return 3;  // ^
}

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Node Whole() {
    Node node = Binary(1);
    Expect(TokenKind::kEnd, "the end");
    return node;
  }

 private:
  Node Binary(int lowest) {
    Node left = Unary();
    while (Precedence(Peek()) >= lowest) {
      const Token operation = Next();
      // Only ^ groups to the right: 2^3^2 is 2^(3^2).
      const int precedence = Precedence(operation);
      Node right = Binary(operation.text == "^" ? precedence : precedence + 1);
      left = Call(operation, std::move(left), std::move(right));
    }
    return left;
  }

  Node Unary() {
    if (Peek().kind == TokenKind::kOperator && Peek().text == "-") {
      const Token minus = Next();
      return Call(minus, Number(0, minus.position), Binary(2));
    }
    return Primary();
  }

  Node Primary() {
    const Token token = Next();
    switch (token.kind) {
      case TokenKind::kNumber: return Number(std::stod(token.text), token.position);
      case TokenKind::kName: return FunctionCall(token);
      case TokenKind::kOpen: {
        Node inner = Binary(1);
        Expect(TokenKind::kClose, "')'");
        return inner;
      }
      default: throw Error("expected a number, a function or '('", token.position);
    }
  }

  Node FunctionCall(const Token& name) {
    Expect(TokenKind::kOpen, "'('");
    Node call = Call(name);
    call->arguments.push_back(Binary(1));
    while (Peek().kind == TokenKind::kComma) {
      Next();
      call->arguments.push_back(Binary(1));
    }
    Expect(TokenKind::kClose, "')'");
    return call;
  }

  template <typename... Nodes>
  static Node Call(const Token& function, Nodes... arguments) {
    auto node = std::make_unique<Expression>();
    node->function = function.text;
    node->position = function.position;
    (node->arguments.push_back(std::move(arguments)), ...);
    return node;
  }

  static Node Number(double number, std::size_t position) {
    auto node = std::make_unique<Expression>();
    node->number = number;
    node->position = position;
    return node;
  }

  const Token& Peek() const { return tokens_[next_]; }

  // The last token, kEnd, is never passed.
  Token Next() { return next_ + 1 < tokens_.size() ? tokens_[next_++] : tokens_[next_]; }

  void Expect(TokenKind kind, const char* name) {
    const Token token = Next();
    if (token.kind != kind) throw Error(std::string("expected ") + name, token.position);
  }

  std::vector<Token> tokens_;
  std::size_t next_ = 0;
};

}  // namespace

std::unique_ptr<Expression> Parse(std::string_view expression) {
  return Parser(Tokenize(expression)).Whole();
}

}  // namespace calc
