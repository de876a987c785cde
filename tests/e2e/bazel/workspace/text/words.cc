#include "text/words.h"

namespace text {

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words;
  std::string word;
  for (char character : text + "\n") {
    if (character >= 'A' && character <= 'Z') {
      word += static_cast<char>(character - 'A' + 'a');
    } else if (character >= 'a' && character <= 'z') {
      word += character;
    } else if (!word.empty()) {
      words.push_back(word);
      word.clear();
    }
  }
  return words;
}

}  // namespace text
