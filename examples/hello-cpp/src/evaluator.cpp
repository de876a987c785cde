#include "calc/evaluator.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <vector>

#include "calc/error.h"
#include "calc/parser.h"

namespace calc {
namespace {

using Function = std::function<double(const std::vector<double>&)>;
using Numbers = std::vector<double>;

struct Definition {
  std::size_t arguments;  // 0: any number of them, one at least
  Function function;
};

const std::map<std::string, Definition>& Definitions() {
  static const std::map<std::string, Definition> definitions = {
      {"+", {2, [](const Numbers& n) { return n[0] + n[1]; }}},
      {"-", {2, [](const Numbers& n) { return n[0] - n[1]; }}},
      {"*", {2, [](const Numbers& n) { return n[0] * n[1]; }}},
      {"/", {2, [](const Numbers& n) { return n[0] / n[1]; }}},
      {"^", {2, [](const Numbers& n) { return std::pow(n[0], n[1]); }}},
      {"sqrt", {1, [](const Numbers& n) { return std::sqrt(n[0]); }}},
      {"max", {0, [](const Numbers& n) { return *std::max_element(n.begin(), n.end()); }}},
      {"min", {0, [](const Numbers& n) { return *std::min_element(n.begin(), n.end()); }}},
      {"sum", {0, [](const Numbers& n) { return std::accumulate(n.begin(), n.end(), 0.0); }}},
  };
  return definitions;
}

}  // namespace

double Evaluate(const Expression& expression) {
  if (expression.function.empty()) return expression.number;
  const auto found = Definitions().find(expression.function);
  if (found == Definitions().end()) {
    throw Error("unknown function '" + expression.function + "'", expression.position);
  }
  const Definition& definition = found->second;
  if (definition.arguments != 0 && definition.arguments != expression.arguments.size()) {
    throw Error("wrong number of arguments for '" + expression.function + "'", expression.position);
  }
  Numbers numbers;
  for (const auto& argument : expression.arguments) numbers.push_back(Evaluate(*argument));
  return definition.function(numbers);
}

double Evaluate(std::string_view expression) { return Evaluate(*Parse(expression)); }

}  // namespace calc
