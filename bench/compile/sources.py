"""The sources that are compiled: the same bytes in every run."""

from dataclasses import dataclass
from pathlib import Path

_HEADERS = (
    "algorithm cmath cstdio deque fstream functional future iomanip iostream list map "
    "memory numeric optional random regex set sstream string thread unordered_map "
    "utility variant vector"
)
"""With what they include, these are 318 files of GCC 12."""

_HEAVY = """
struct Record_{0} {{
  std::string name;
  std::variant<int, double, std::string> value;
  std::vector<std::optional<int>> history;
}};
using Index_{0} = std::map<std::string, std::unordered_map<int, std::vector<Record_{0}>>>;

static Index_{0} index_of(const std::vector<Record_{0}>& records) {{
  static const std::regex word("([a-z]+)_({0}|[0-9]+)");
  Index_{0} index;
  std::smatch match;
  for (const auto& record : records)
    if (std::regex_search(record.name, match, word))
      index[match[1]][std::stoi(match[2])].push_back(record);
  return index;
}}

std::string report_{0}(std::size_t count) {{
  std::vector<Record_{0}> records;
  for (std::size_t i = 0; i < count; ++i)
    records.push_back({{"item_" + std::to_string(i), int(i) + {0}, {{std::nullopt, int(i)}}}});
  std::sort(records.begin(), records.end(),
            [](const auto& a, const auto& b) {{ return a.name > b.name; }});
  std::set<std::pair<std::string, long>> seen;
  std::function<void(const Record_{0}&)> visit = [&](const Record_{0}& record) {{
    std::visit([&](const auto& value) {{
      std::ostringstream text;
      text << std::setw(8) << value;
      seen.emplace(text.str(), record.history.size());
    }}, record.value);
  }};
  for (const auto& [name, group] : index_of(records))
    for (const auto& [number, members] : group)
      std::for_each(members.begin(), members.end(), visit);
  auto later = std::async(std::launch::deferred, [&] {{
    return std::accumulate(seen.begin(), seen.end(), std::string(),
                           [](std::string all, const auto& one) {{ return all + one.first; }});
  }});
  return later.get();
}}
"""

_MAIN = """#include <cstdio>
#include <string>
{declarations}
int main() {{
  std::string all;
{calls}
  std::printf("%zu\\n", all.size());
}}
"""

_SMALL = """#include <stdio.h>
int print_{0}(void) {{ return printf("{0}\\n"); }}
"""

_MAKEFILE = """all: $(patsubst %.{suffix},out/%.o,$(wildcard *.{suffix}))
out/%.o: %.{suffix}
\t$(LAUNCHER) {compiler} {flags} -MD -MF out/$*.d -c $< -o $@
"""


@dataclass(frozen=True)
class Project:
    """A folder with a Makefile that makes `units` objects in `out`, by way of LAUNCHER."""

    folder: Path
    units: int


@dataclass(frozen=True)
class Unit:
    """A source and its compiler; `plain_rounds` of the rounds also compile it without a tool."""

    name: str
    source: Path
    compiler: str
    plain_rounds: int


def write_units(folder: Path) -> list[Unit]:
    """A small unit of C, a small one of C++, and a large one of C++."""
    folder.mkdir(parents=True)
    units = (
        Unit("small C", folder / "small.c", "gcc", 50),
        Unit("small C++", folder / "small.cc", "g++", 10),
        Unit("300-header C++", folder / "large.cc", "g++", 3),
    )
    units[0].source.write_text(
        '#include <stdio.h>\nint main(void) { return puts("hello") == EOF; }\n'
    )
    units[1].source.write_text(
        "#include <string>\nstd::string twice(const std::string& it) { return it + it; }\n"
    )
    units[2].source.write_text(_heavy(0))
    return list(units)


def write_project(folder: Path, heavy_units: int) -> Project:
    """`heavy_units` units that lean on the whole standard library, and a small main."""
    folder.mkdir(parents=True)
    numbers = range(heavy_units)
    for number in numbers:
        (folder / f"unit{number}.cc").write_text(_heavy(number))
    declarations = "\n".join(f"std::string report_{number}(std::size_t);" for number in numbers)
    calls = "\n".join(f"  all += report_{number}(10);" for number in numbers)
    (folder / "main.cc").write_text(_MAIN.format(declarations=declarations, calls=calls))
    makefile = _MAKEFILE.format(suffix="cc", compiler="g++", flags="-O0 -std=c++17")
    (folder / "Makefile").write_text(makefile)
    return Project(folder, heavy_units + 1)


def write_small_files(folder: Path, first: int, count: int) -> Project:
    """`count` small units of C, numbered from `first`."""
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        (folder / f"file{number}.c").write_text(_SMALL.format(number))
    (folder / "Makefile").write_text(_MAKEFILE.format(suffix="c", compiler="gcc", flags="-O1"))
    return Project(folder, count)


def _heavy(number: int) -> str:
    includes = "".join(f"#include <{header}>\n" for header in _HEADERS.split())
    return includes + _HEAVY.format(number)
