import os

import pytest

from reapi.clients.compile.closure import include_closure
from reapi.clients.compile.search_path import SearchPaths

from .units import Project


async def closure(project: Project, *words: str) -> list[str] | None:
    search = await SearchPaths().find(project.call(*words))
    root = str(project.root)
    source = os.path.join(root, "main.c")
    return include_closure(source, root, search, project.files, project.directories)


async def names(project: Project, *words: str) -> set[str]:
    """The files of the project that may be read."""
    paths = await closure(project, *words)
    assert paths is not None
    root = f"{project.root}/"
    return {path.removeprefix(root) for path in paths if path.startswith(root)}


@pytest.mark.parametrize(
    "text",
    [
        "#include <stdio.h>\n#include <stdlib.h>\n#include <limits.h>\n#include <math.h>\n",
        "#include <pthread.h>\n#include <sys/socket.h>\n#include <signal.h>\n#include <stdint.h>\n",
    ],
)
async def test_all_that_the_compiler_reads_is_in_it(project: Project, text: str) -> None:
    project.write("main.c", text + '#include "a.h"\n')
    project.write("a.h", "#include <stddef.h>\n")
    unit = await project.unit()
    paths = await closure(project)
    assert paths is not None
    assert {path for path, _ in unit.records} <= set(paths)


async def test_what_a_condition_leaves_out_is_in_it_too(project: Project) -> None:
    project.write("main.c", '#ifdef NEVER\n#include "never.h"\n#endif\n')
    project.write("never.h", '#include "deeper.h"\n')
    project.write("deeper.h")
    assert await names(project) == {"main.c", "never.h", "deeper.h"}


async def test_what_is_asked_for_and_never_included_is_in_it(project: Project) -> None:
    project.write("main.c", '#if __has_include("asked.h")\nint asked;\n#endif\n')
    project.write("asked.h")
    assert await names(project) == {"main.c", "asked.h"}


async def test_a_name_counts_wherever_it_is(project: Project) -> None:
    """The second is for include_next."""
    project.write("main.c", "#include <x.h>\n")
    project.write("one/x.h")
    project.write("two/x.h")
    found = await names(project, "-Ione", "-Itwo")
    assert found == {"main.c", "one/x.h", "two/x.h"}


async def test_quoted_names_are_beside_their_includer(project: Project) -> None:
    project.write("main.c", '#include "sub/a.h"\n')
    project.write("sub/a.h", '#include "b.h"\n#include "../c.h"\n')
    project.write("sub/b.h")
    project.write("c.h")
    assert await names(project) == {"main.c", "sub/a.h", "sub/b.h", "sub/../c.h"}


async def test_what_the_command_line_includes_is_in_it(project: Project) -> None:
    project.write("main.c")
    project.write("first.h")
    assert await names(project, "-include", "first.h") == {"main.c", "first.h"}


async def test_headers_that_include_each_other_are_no_endless_work(project: Project) -> None:
    project.write("main.c", '#include "a.h"\n')
    project.write("a.h", '#include "b.h"\n')
    project.write("b.h", '#include "a.h"\n')
    assert await names(project) == {"main.c", "a.h", "b.h"}


@pytest.mark.parametrize(
    "text", ["#define X <stdio.h>\n#include X\n", "#if __has_include(X)\n#endif\n"]
)
async def test_computed_names_are_left_to_the_compiler(project: Project, text: str) -> None:
    project.write("main.c", text)
    assert await closure(project) is None


async def test_a_word_of_a_comment_is_no_computed_name(project: Project) -> None:
    project.write("main.c", "/* These\n   #include's are none.\n   #include 'x'. */\n")
    assert await names(project) == {"main.c"}


async def test_a_directory_of_that_name_is_no_header(project: Project) -> None:
    project.write("main.c", '#include "a"\n')
    project.write("a/file")
    assert await names(project) == {"main.c"}
