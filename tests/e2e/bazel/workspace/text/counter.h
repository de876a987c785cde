#ifndef TEXT_COUNTER_H_
#define TEXT_COUNTER_H_

#include <map>
#include <string>

namespace text {

// How often each word of a text occurs.
std::map<std::string, int> CountWords(const std::string& text);

}  // namespace text

#endif  // TEXT_COUNTER_H_
