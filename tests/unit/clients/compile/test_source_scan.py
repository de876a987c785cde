"""What a source says of what it depends on: rather too much than too little."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.clients.compile.source_scan import scan_source


@pytest.mark.parametrize(
    ("text", "quoted", "angled"),
    [
        ('#include "a.h"', ["a.h"], []),
        ("#include <sys/types.h>", [], ["sys/types.h"]),
        (" \t# \tinclude_next\t<a.h>", [], ["a.h"]),
        ("#import <a.h>", [], ["a.h"]),
        ('#embed "a.bin" limit(3)', ["a.bin"], []),
        ("#if __has_include(<a.h>) && !__has_include_next ( <b.h> )", [], ["a.h", "b.h"]),
        ('#elif __has_embed("a.bin" if_empty(0))', ["a.bin"], []),
        ("/* comment */ #include <a.h>", [], ["a.h"]),
        ("%:include <a.h>", [], ["a.h"]),
        ("??=include <a.h>", [], ["a.h"]),
        ("#inc\\\nlude \\  \r\n <a.h>", [], ["a.h"]),
        ('_Static_assert(1, "#include <in/a/string>");', [], ["in/a/string"]),
        ("#define FMT_HAS_INCLUDE(x) __has_include(x)\n#if FMT_HAS_INCLUDE(<a.h>)", [], ["a.h"]),
        ("#pragma include_alias", [], []),
        ("#included <a.h>", [], []),
    ],
)
def test_names_are_found(text: str, quoted: list[str], angled: list[str]) -> None:
    facts = scan_source(text.encode())
    assert (list(facts.quoted), list(facts.angled)) == (quoted, angled)
    assert not facts.has_computed_include
    assert not facts.has_computed_check


@pytest.mark.parametrize(
    "text",
    [
        "#include HEADER",
        "#include_next HEADER",
        "int a; /* */ #include HEADER",
        "#include/**/<a.h>",
        "# /* comment */ include <a.h>",
        "#embed DATA",
        "// sure??/\n#include HEADER",
        "int a;\r#include HEADER",
        '#include "a\\b.h"',
    ],
)
def test_an_include_that_is_not_understood_is_told(text: str) -> None:
    assert scan_source(text.encode()).has_computed_include


@pytest.mark.parametrize(
    "text",
    [
        "#if __has_include(HEADER)",
        "#define IS_THERE(x) __has_include(x)",
        "#define check __has_include",
        "#if FMT_HAS_INCLUDE(HEADER)",
        "#elif __has_include_next(HEADER)",
        "#if __has_include/**/(<a.h>)",
    ],
)
def test_a_check_for_a_name_that_is_not_written_there_is_told(text: str) -> None:
    assert scan_source(text.encode()).has_computed_check


@pytest.mark.parametrize(
    "text",
    [
        "#ifdef __has_include",
        "#if defined __has_include && defined(__has_include)",
        "#ifndef __has_include\n#define __has_include(x) 0\n#endif // __has_include",
        "  /* Never #include this directly. */",
        "bool has_include(const char *name);",
        "#endif /* HAS_INCLUDE_A */",
    ],
)
def test_common_text_is_not_taken_for_something_computed(text: str) -> None:
    facts = scan_source(text.encode())
    assert not facts.has_computed_include
    assert not facts.has_computed_check


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("__DATE__", "has_time"),
        ("__TI\\\nME__", "has_time"),
        ("__TIMESTAMP__", "has_time"),
        ('#pragma GCC dependency "a.y"', "has_time"),
        ("__FILE__", "has_file_name"),
        ("__BASE_FILE__", "has_file_name"),
        ("__builtin_FILE()", "has_file_name"),
        ("std::source_location::current()", "has_file_name"),
        ("__PRETTY_FUNCTION__", "has_file_name"),
        ('asm(".incbin \\"a.bin\\"");', "has_incbin"),
        ('.INCBIN "a.bin"', "has_incbin"),
        ('asm(".include \\"a.s\\"");', "has_incbin"),
    ],
)
def test_what_else_may_be_in_a_result_is_told(text: str, fact: str) -> None:
    facts = scan_source(f"int a;\n{text}\n".encode())
    told = ("has_time", "has_file_name", "has_incbin")
    assert [name for name in told if getattr(facts, name)] == [fact]


def test_a_counter_and_a_line_are_nothing_special() -> None:
    assert scan_source(b"__COUNTER__ __LINE__ TIMES a.include(b)") == scan_source(b"")


_DIRECTIVES = ("#", "%:", "??=", "include", "_next", "__has_include", "HAS_INCLUDE", "define X")
_PIECES = st.sampled_from(
    (*_DIRECTIVES, *'() \n\r\0\\"<>', '"a.h"', "<b.h>", "/*", "*/", "//", "\\\n", "??/")
)


@given(st.lists(_PIECES | st.text(max_size=3), max_size=40))
def test_any_text_has_facts(pieces: list[str]) -> None:
    scan_source("".join(pieces).encode(errors="surrogatepass"))


@pytest.mark.parametrize(
    "piece",
    [b"# /* ", b"#include <", b'#include "', b"has_include(", b"#define a has_include ", b"\\ "],
)
def test_hostile_text_takes_no_longer_than_other_text(piece: bytes) -> None:
    """A scan of quadratic cost would take hours here: the test would not end in its time."""
    scan_source(piece * ((2 << 20) // len(piece)))
