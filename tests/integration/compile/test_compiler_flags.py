"""Calls of gcc and clang through the engine against what the compiler itself does with them."""

from dataclasses import dataclass, replace

import pytest

from reapi.clients.compile.model import Local
from reapi.clients.compile.outcome import OutcomeKind
from tests.integration.compile.checkout import COMPILERS, Checkout, Client, Ended, kind_of

pytestmark = pytest.mark.asyncio(loop_scope="session")

FILES = {
    "foo.c": '#include <stddef.h>\n#include "here.h"\nsize_t f(int x) { return x + HERE; }\n',
    "sub/bar.c": '#include "near.h"\n#include "here.h"\nint h(int x) { return x + HERE + NEAR; }\n',
    "sub/near.h": "#define NEAR 8\n",
    "has space.c": '#include "here.h"\nint f(void) { return HERE; }\n',
    "warn.c": '#include "here.h"\nint f(int unused) { int x; return x + HERE; }\n',
    "wrong.c": '#include "here.h"\nint f(void) { return HERE + nothing; }\n',
    "absent.c": '#include "absent.h"\nint f(void) { return 1; }\n',
    "start.S": '#include "here.h"\n.globl f\nf: .long HERE\n',
    "plain.s": ".globl f\nf: .long 4\n",
    "ready.i": "int f(void) { return 1; }\n",
    "odd": '#include "here.h"\nint f(void) { return HERE; }\n',
    "quoted.c": "const char *f(void) { return A B; }\nint g(void) { return sizeof(C); }\n",
    "imacros.c": "int f(void) { return HERE; }\n",
    "named.c": '#include "named.h"\nconst char *f(void) { return __FILE__ NAME; }\n',
    "self.c": "#ifndef AGAIN\n#define AGAIN\n#include __FILE__\nint f(void);\n#endif\n",
    "asks.c": '#if __has_include("there.h") && !__has_include("absent.h")\nint f(void);\n#endif\n'
    "#ifdef __has_include\n#if __has_include(<sys/epoll.h>)\nint g;\n#endif\n#endif\n",
    "once.c": '#include "once.h"\n#include "../checkout/include/once.h"\n#include "link.h"\n'
    "int f(void) { return ONCE; }\n",
    "next.c": '#include <here.h>\n#include "there.h"\nint f(void) { return HERE + NEXT; }\n',
    "computed.c": '#define AT(x) <x.h>\n#include AT(here)\n#define IT "there.h"\n#include IT\n'
    "int f(void) { return HERE + LATER; }\n",
    "linked.c": '#include "linked.h"\n#include "linked/deep.h"\nint f(void) { return L + DEEP; }\n',
    "embeds.c": '#if __has_include("data.txt")\nint f(void) { return 1; }\n#endif\n',
    "template.cc": '#include <vector>\n#include "template.h"\nint f() {\n'
    "  std::vector<int> v{1, 2};\n  return largest(v);\n}\n",
    "inline.c": "static inline int g(int x) { return x; }\nint f(int x) { return g(x); }\n",
    "include/here.h": '#pragma once\n#include "there.h"\n#define HERE 1\n',
    "include/there.h": "#pragma once\n#define LATER 2\n",
    "include/named.h": "#pragma once\n#define NAME __FILE__\n",
    "include/once.h": "#pragma once\n#define ONCE 1\nint once;\n",
    "include/template.h": "#pragma once\ntemplate <class T> auto largest(const T &all) {\n"
    "  auto found = all.front();\n  for (auto &one : all) if (found < one) found = one;\n"
    "  return found;\n}\n",
    "include/data.txt": "data\n",
    "next/here.h": "#include_next <here.h>\n#define NEXT 4\n",
    "system/here.h": "#define HERE 3\n#define LATER 4\nint bad(x) { }\n",
    "with space/here.h": "#define HERE 5\n#define LATER 6\n",
    "real/linked.h": "#define L 7\n",
    "real/deep/deep.h": "#define DEEP 9\n",
    "words.rsp": '-DA=\'a b\' -Iinclude\n"-DB=\\"x\\"" @more.rsp',
    "more.rsp": "-O2\t-g\n",
    "empty.specs": "",
    "defines.specs": "*cpp:\n+ -DHERE=77\n\n",
    "out/.keep": "",
    "other/.keep": "",
}
LINKS = {
    "include/linked.h": "../real/linked.h",
    "include/linked": "../real/deep",
    "include/link.h": "once.h",
    "also": "include",
    "way": "sub",
}


@dataclass(frozen=True)
class Case:
    """Words of a call behind the compiler's name; quotes hold blanks together."""

    words: tuple[str, ...]
    directory: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    wants_colour: bool = False
    umask: int = 0o022

    def __str__(self) -> str:
        more = [self.directory, *(f"{name}={value}" for name, value in self.variables)]
        more += ["coloured"] * self.wants_colour
        return " ".join([*self.words, *filter(None, more)])


def case(text: str, *more: str, directory: str = "", **how: object) -> Case:
    made = Case((*text.split(), *more), directory)
    return replace(made, **how)  # type: ignore[arg-type]


ALIKE = [
    *(case(f"-c foo.c -o out/x.o -Iinclude -O{level}") for level in "012s"),
    *(
        case(f"-c foo.c -o out/x.o -Iinclude {level}")
        for level in ("-g", "-g3", "-ggdb", "-g -O2", "-g -gz", "-gdwarf-4")
    ),
    case("-c foo.c -Iinclude -g -gsplit-dwarf"),
    case("-c foo.c -Iinclude -g -gsplit-dwarf -o out/x.o"),
    case("-c foo.c -Iinclude --coverage -frandom-seed=1"),
    case("-c foo.c -Iinclude --coverage -frandom-seed=1 -o out/foo.c.o -O1 -g"),
    case("-c sub/bar.c -Iinclude -ftest-coverage -fprofile-arcs -frandom-seed=1"),
    case("-c foo.c -Iinclude -fstack-usage -o out/x.o"),
    case("-c foo.c -Iinclude"),
    case("-S foo.c -Iinclude -o out/x.s"),
    case("-c foo.c -Iinclude -flto -frandom-seed=1 -o out/x.o"),
    # Depfiles.
    case("-c foo.c -Iinclude -MD"),
    case("-c foo.c -Iinclude -MMD -o out/x.o"),
    case("-c foo.c -Iinclude -MD -MP -o out/x.o"),
    case("-c foo.c -Iinclude -MD -MF out/other.d -o out/x.o"),
    case("-c foo.c -Iinclude -MMD -MF out/other.d -MT a$b -MQ c$d -MP -o out/x.o"),
    case("-c foo.c -IHERE/include -MD -MT HERE/out/x.o -MF HERE/out/x.d -o HERE/out/x.o"),
    case("-c HERE/foo.c -IHERE/include -MMD -o out/x.o"),
    case("-c foo.c -Iinclude -Wp,-MD,out/.x.o.d -o out/x.o"),
    case("-c foo.c -Iinclude -isystem system -MMD -o out/x.o"),
    case("-c foo.c -Iinclude -MD -o out/x.o -g --coverage -gsplit-dwarf -frandom-seed=1"),
    # What is where.
    case("@words.rsp -c foo.c -o out/x.o"),
    case("-x c -c odd -Iinclude -o out/x.o"),
    case("-xc++ -c foo.c -Iinclude -o out/x.o"),
    case("-c imacros.c -include here.h -Iinclude -o out/x.o"),
    case("-c imacros.c -include include/here.h -o out/x.o"),
    case("-c imacros.c -imacros include/here.h -o out/x.o"),
    case("-c foo.c -Isystem -Iinclude -w -o out/x.o"),
    case("-c foo.c -Iinclude -Isystem -o out/x.o"),
    case("-c foo.c -isystem system -isystem include -Wall -o out/x.o"),
    case("-c foo.c -iquote include -Isystem -Wall -o out/x.o"),
    case("-c foo.c -idirafter system -Inothing -Iinclude -o out/x.o"),
    case("-c foo.c -o out/x.o", "-Iwith space"),
    case("-c -Iinclude -o out/x.o", "has space.c"),
    case("-c -Iinclude -MD", "has space.c", "-o", "out/has space.o"),
    case("-c foo.c -Iinclude --sysroot=/ -o out/x.o"),
    case("-c foo.c -Iinclude -B/usr/bin -o out/x.o"),
    case("-c quoted.c -o out/x.o", '-DA="a b"', '-DB="\'\\""', "-DC=long long"),
    case("-c quoted.c -o out/x.o -DA=__FILE__ -DB=__FILE__ -DC=int"),
    case("-c HERE/quoted.c -o out/x.o -DA=__FILE__ -DB=__FILE__ -DC=int"),
    case("-c foo.c -Iinclude -std=c11 -o out/x.o"),
    case("-c foo.c -Iinclude -std=gnu99 -fPIC -fvisibility=hidden -o out/x.o"),
    case("-c foo.c -Iinclude -o HERE/other/x.o"),
    case("-c ../foo.c -I../include -o x.o", directory="other"),
    case("-c ../foo.c -I../include -o ../out/x.o -MD", directory="other"),
    case("-c ../foo.c -I../include -g -o x.o -MMD", directory="other"),
    case("-c HERE/foo.c -IHERE/include -o HERE/out/x.o", directory="other"),
    case("-c HERE/foo.c -IHERE/include -o HERE/out/x.o -g -MD", directory="other"),
    case("-c HERE/foo.c -IHERE/include -g -gsplit-dwarf -o CMakeFiles.o", directory="other"),
    case("-c start.S -Iinclude -o out/x.o"),
    case("-c start.S -Iinclude -o out/x.o -g -MD"),
    case("-c plain.s -o out/x.o"),
    case("-c ready.i -o out/x.o -O2"),
    case("-c foo.c -Iinclude -g -fdebug-prefix-map=HERE=/src -o out/x.o"),
    case("-c foo.c -Iinclude -g -ffile-prefix-map=HERE=. -o out/x.o"),
    case("-c named.c -Iinclude -fmacro-prefix-map=HERE=/src -o out/x.o"),
    case("-c named.c -Iinclude -o out/x.o"),
    case("-c HERE/named.c -IHERE/include -o out/x.o"),
    case("-c HERE/named.c -IHERE/include -ffile-prefix-map=HERE=/src -o out/x.o"),
    case("-c HERE/inline.c -o out/x.o -O2 -MMD"),
    # What is read.
    case("-c self.c -o out/x.o"),
    case("-c HERE/self.c -o out/x.o -MD"),
    case("-c asks.c -Iinclude -o out/x.o -MD"),
    case("-c embeds.c -Iinclude -o out/x.o"),
    case("-c once.c -Iinclude -o out/x.o -MD"),
    case("-c next.c -Inext -Iinclude -o out/x.o -MD"),
    case("-c computed.c -Iinclude -o out/x.o -MD"),
    case("-c linked.c -Iinclude -o out/x.o -MD"),
    case("-c linked.c -Ialso -o out/x.o -MD -g"),
    case("-c way/bar.c -Ialso -o out/x.o -MD -g"),
    case("-c bar.c -I../include -o x.o -MD -g", directory="way"),
    case("-c bar.c -I../include -o x.o", directory="way"),
    case("-c foo.c -o out/x.o", variables=(("CPATH", "include"),)),
    case("-c foo.c -o out/x.o -MD", variables=(("C_INCLUDE_PATH", "HERE/include"),)),
    # What is said.
    case("-c warn.c -Iinclude -Wall -Wextra -o out/x.o"),
    case("-c warn.c -Iinclude -Wall -Wextra -o out/x.o", wants_colour=True),
    case("-c HERE/warn.c -IHERE/include -Wall -Wextra -O2 -o out/x.o"),
    case("-c warn.c -Iinclude -Wall -fdiagnostics-color=always -o out/x.o"),
    case("-c warn.c -Iinclude -Wall -fdiagnostics-color=never -o out/x.o", wants_colour=False),
    case("-c foo.c -Iinclude -Inothing -Wmissing-include-dirs -o out/x.o"),
    case("-c foo.c -Iinclude -IHERE/nothing -Wmissing-include-dirs -o out/x.o"),
    case("-c foo.c -Isystem -Wall -Wextra -Wold-style-definition -o out/x.o"),
    case("-c foo.c -Iinclude -o out/x.o", umask=0o077),
]
OF_GCC = [
    case("-c foo.c -Iinclude -gsplit-dwarf -o out/x.o"),
    case("-c foo.c -specs=./empty.specs -Iinclude -o out/x.o"),
    case("-c imacros.c -specs=HERE/defines.specs -o out/x.o"),
    case("-c foo.c -Iinclude -frecord-gcc-switches -o out/x.o"),
    case("-c warn.c -Iinclude -Wall -fdiagnostics-plain-output -o out/x.o"),
    case("-c foo.c -Iinclude -fcallgraph-info -o out/x.o"),
]
OF_CLANG = [
    case("-c foo.c -Iinclude -gline-tables-only -o out/x.o"),
    case("-c foo.c -Iinclude -g -gsplit-dwarf=single -o out/x.o"),
    case("-c warn.c -Iinclude -Weverything -Wno-unsafe-buffer-usage -fcolor-diagnostics -o x.o"),
    case("-c foo.c -Iinclude --target=x86_64-linux-gnu -Wunused-command-line-argument -o out/x.o"),
    case("-c foo.c -Iinclude -g -ffile-compilation-dir=. -o out/x.o"),
    case("-c foo.c -Iinclude -fprofile-instr-generate -fcoverage-mapping -o out/x.o"),
]
OF_CPLUSPLUS = [
    case("-c template.cc -Iinclude -std=c++17 -o out/x.o -MD"),
    case("-c template.cc -Iinclude -std=c++20 -g -O2 -o out/x.o"),
    case("-c template.cc -IHERE/include -std=c++17 -o out/x.o -MMD -MP"),
]
CASES = [
    *(("gcc", one) for one in [*ALIKE, *OF_GCC]),
    *(("clang", one) for one in [*ALIKE, *OF_CLANG]),
    *((name, one) for name in ("g++", "clang++") for one in OF_CPLUSPLUS),
]
SOURCES = tuple(name for name in FILES if name.endswith((".c", ".cc", ".S", ".s", ".i", "odd")))


@pytest.fixture
def project(checkout: Checkout, request: pytest.FixtureRequest) -> Checkout:
    """The sources, which no other test has had: nothing is in a cache."""
    checkout.write_all(FILES)
    for name in SOURCES:
        checkout.write(name, f"{FILES[name]}/* {request.node.name.replace('*/', '')} */\n")
    for name, target in LINKS.items():
        (checkout.root / name).symlink_to(target)
    return checkout


@pytest.mark.parametrize(("compiler", "one"), CASES, ids=lambda value: str(value))
async def test_M1_a_call_ends_as_with_the_plain_compiler_wherever_its_result_comes_from(
    compiler: str, one: Case, project: Checkout, here: Client, elsewhere: Client
) -> None:
    call = project.call(
        compiler,
        *one.words,
        directory=one.directory,
        wants_colour=one.wants_colour,
        umask=one.umask,
        **{name: value.replace("HERE", str(project.root)) for name, value in one.variables},
    )
    plain = project.plain(call)
    assert plain.exit_code == 0, plain.stderr.decode()

    miss, answer = await project.through(here, call)
    assert kind_of(answer) is OutcomeKind.MISS_REMOTE, answer
    assert_same(miss, plain)
    again, answer = await project.through(here, call)
    assert kind_of(answer) is OutcomeKind.HIT_LOCAL
    assert_same(again, plain)
    await here.shared(call)
    shared, answer = await project.through(elsewhere, call)
    assert kind_of(answer) is OutcomeKind.HIT_REMOTE
    assert_same(shared, plain)


def assert_same(ended: Ended, plain: Ended) -> None:
    assert ended.exit_code == plain.exit_code
    assert ended.stderr.decode() == plain.stderr.decode()
    assert ended.stdout == plain.stdout
    assert ended.files.keys() == plain.files.keys()
    for name, (rights, content) in plain.files.items():
        assert ended.files[name] == (rights, content), name


@pytest.mark.parametrize("wants_colour", [False, True])
@pytest.mark.parametrize("text", ["-Iinclude -o out/x.o -MD", "-IHERE/include"])
@pytest.mark.parametrize("compiler", COMPILERS)
async def test_an_error_is_said_by_the_compiler_here_and_is_not_kept(
    compiler: str, text: str, wants_colour: bool, project: Checkout, here: Client
) -> None:
    words = ("-c", "wrong.c", *text.split())
    call = project.call(compiler, *words, wants_colour=wants_colour)
    plain = project.plain(call)
    assert plain.exit_code == 1
    for _ in range(2):
        ended, answer = await project.through(here, call)
        assert isinstance(answer, Local)
        assert answer.reason == "it did not compile remotely"
        assert not ended.files
    project.settings = {"fallback": "never"}
    ended, answer = await project.through(
        here, project.call(compiler, *words, wants_colour=wants_colour)
    )
    assert kind_of(answer) is OutcomeKind.MISS_REMOTE, answer
    assert ended.stderr.decode() == plain.stderr.decode()
    assert ended.exit_code == 1
    assert not ended.files
