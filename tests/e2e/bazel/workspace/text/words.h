#ifndef TEXT_WORDS_H_
#define TEXT_WORDS_H_

#include <string>
#include <vector>

namespace text {

// The words of a text in lower case, in order. A word is a run of ASCII letters.
std::vector<std::string> Words(const std::string& text);

}  // namespace text

#endif  // TEXT_WORDS_H_
