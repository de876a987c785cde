#include "text/counter.h"

#include "text/words.h"

namespace text {

std::map<std::string, int> CountWords(const std::string& text) {
  std::map<std::string, int> counts;
  for (const std::string& word : Words(text)) ++counts[word];
  return counts;
}

}  // namespace text
