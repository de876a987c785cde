"""Direct mode is safe: whatever would make a compiler read something else is noticed."""

import os
from pathlib import Path

import pytest

from reapi.clients.compile import directory_states
from reapi.clients.compile.directory_states import DirectoryStates, Kind

from .units import MakeProject, Project


async def test_a_unit_holds_while_nothing_changes(project: Project) -> None:
    project.write("main.c", '#include <stdio.h>\n#include "a.h"\n')
    project.write("include/a.h")
    unit = await project.unit("-Iinclude")
    assert "a.h" in unit.names()
    assert "stdio.h" in unit.names()
    assert unit.holds()
    assert unit.holds()


@pytest.mark.parametrize(
    ("include", "shadow"),
    [
        ('"a.h"', "first/a.h"),
        ("<a.h>", "first/a.h"),
        ('"a.h"', "a.h"),
        ('"a.h"', "quoted/a.h"),
        ("<a.h>", "second/a.h"),
        ("<a.h>", "system/a.h"),
        ("<sub/b.h>", "first/sub/b.h"),
        ("<sub/b.h>", "system/sub/b.h"),
        ('"sub/../sub/b.h"', "first/sub/b.h"),
    ],
)
async def test_a_new_header_that_shadows_one_is_noticed(
    project: Project, include: str, shadow: str
) -> None:
    project.write("main.c", f"#include {include}\n")
    project.write("place/a.h")
    project.write("place/sub/b.h")
    project.write("first/other.h")
    words = [
        "-iquotequoted",
        "-Ifirst",
        "-I",
        "second",
        "-isystem",
        "system",
        "-idirafter",
        "place",
    ]
    unit = await project.unit(*words)
    assert unit.holds()
    project.write(shadow, "int shadow;\n")
    assert not unit.holds()
    assert not unit.holds(), "it stays noticed"
    (project.root / shadow).unlink()
    project.changed(shadow)
    assert unit.holds(), "what it was made of is back"


async def test_a_way_up_through_a_directory_that_appears_is_noticed(project: Project) -> None:
    project.write("main.c", '#include "../place/a.h"\n')
    project.write("first/b.h")
    project.write("place/a.h")
    unit = await project.unit("-iquotequoted", "-Ifirst")
    assert unit.holds()
    project.write("quoted/b.h")
    assert not unit.holds()


@pytest.mark.parametrize("place", ["CPATH", "C_INCLUDE_PATH"])
async def test_a_shadow_in_a_directory_of_the_environment_is_noticed(
    project: Project, place: str
) -> None:
    project.write("main.c", "#include <a.h>\n")
    project.write("late/a.h")
    project.write("early/b.h")
    unit = await project.unit(environment={place: f"{project.root}/early:late"})
    assert unit.holds()
    project.write("early/a.h")
    assert not unit.holds()


async def test_a_shadow_beside_an_included_header_is_noticed(project: Project) -> None:
    project.write("main.c", "#include <outer.h>\n")
    project.write("one/outer.h", '#include "inner.h"\n')
    project.write("two/inner.h")
    unit = await project.unit("-Ione", "-Itwo")
    assert unit.holds()
    project.write("one/inner.h")
    assert not unit.holds()


async def test_a_file_that_was_asked_for_and_appears_is_noticed(project: Project) -> None:
    project.write("main.c", "#if __has_include(<optional/a.h>)\nint a;\n#endif\n")
    project.write("include/other.h")
    unit = await project.unit("-Iinclude")
    assert unit.holds()
    project.write("include/optional/a.h")
    assert not unit.holds()


async def test_a_removed_or_renamed_header_is_noticed(project: Project) -> None:
    project.write("main.c", '#include "a.h"\n')
    project.write("a.h")
    unit = await project.unit()
    os.rename(project.root / "a.h", project.root / "b.h")
    assert not unit.holds()


async def test_a_header_of_include_next_is_shadowed(project: Project) -> None:
    project.write("main.c", "#include <a.h>\n")
    project.write("one/a.h", "#include_next <a.h>\n")
    project.write("two/b.h")
    project.write("three/a.h")
    unit = await project.unit("-Ione", "-Itwo", "-Ithree")
    assert unit.names().count("a.h") == 2
    assert unit.holds()
    project.write("two/a.h")
    assert not unit.holds()


async def test_a_computed_include_is_shadowed(project: Project) -> None:
    project.write("main.c", '#define H "sub/a.h"\n#include H\n')
    project.write("one/b.h")
    project.write("two/sub/a.h")
    unit = await project.unit("-Ione", "-Itwo")
    assert unit.holds()
    project.write("one/sub/a.h")
    assert not unit.holds()


async def test_a_header_of_the_command_line_is_shadowed(project: Project) -> None:
    project.write("main.c")
    project.write("include/a.h")
    unit = await project.unit("-Iinclude", "-include", "a.h")
    assert unit.holds()
    project.write("a.h")
    assert not unit.holds()


async def test_a_symlinked_directory_that_leads_elsewhere_is_noticed(project: Project) -> None:
    project.write("main.c", "#include <a.h>\n")
    project.write("empty/b.h")
    project.write("full/a.h", "int full;\n")
    project.write("place/a.h")
    (project.root / "first").symlink_to("empty")
    unit = await project.unit("-Ifirst", "-Iplace")
    assert unit.holds()
    (project.root / "first").unlink()
    (project.root / "first").symlink_to("full")
    assert not unit.holds()


async def test_a_dangling_symlink_that_comes_to_lead_to_a_header_is_noticed(
    project: Project,
) -> None:
    project.write("main.c", "#include <a.h>\n")
    project.write("place/a.h")
    (project.root / "first").mkdir()
    (project.root / "first/a.h").symlink_to("../elsewhere/a.h")
    unit = await project.unit("-Ifirst", "-Iplace")
    assert unit.holds()
    project.write("elsewhere/a.h")
    assert not unit.holds()


async def test_files_that_nobody_asks_for_are_not_looked_at_again(project: Project) -> None:
    project.write("main.c", '#include "a.h"\n')
    project.write("a.h")
    unit = await project.unit("-I.")
    listing = project.directories.listing(str(project.root))
    project.write("main.o")
    assert project.directories.listing(str(project.root)) is listing
    assert unit.holds()
    project.write("a.h.gch/x")
    assert project.directories.listing(str(project.root)) is not listing
    assert not unit.holds()


async def test_a_directory_of_very_many_files_is_asked_for_single_names(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_states, "_LARGEST_LISTING", 10)
    project.write("main.c", "#include <a.h>\n")
    for number in range(20):
        project.write(f"first/{number}.h")
    project.write("place/a.h")
    unit = await project.unit("-Ifirst", "-Iplace")
    assert unit.holds()
    project.write("first/20.h")
    assert unit.holds()
    project.write("first/a.h")
    assert not unit.holds()


async def test_listings_that_are_forgotten_are_made_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory_states, "_MOST_ASKED_NAMES", 1)
    project.write("main.c", "#include <stddef.h>\n#include <a.h>\n")
    project.write("place/a.h")
    unit = await project.unit("-Ifirst", "-Iplace")
    other = await project.unit("-Iplace")
    assert unit.holds()
    assert other.holds()
    project.write("first/a.h")
    assert other.holds()
    assert not unit.holds()


async def test_another_checkout_has_the_same_fingerprint(make_project: MakeProject) -> None:
    fingerprints = []
    for name in ("one", "another/deeper", "third"):
        project = make_project(name.replace("/", "-"))
        project.write("main.c", '#include "sub/a.h"\n')
        project.write("include/sub/a.h")
        if name == "third":
            project.write("sub/b.h")
            project.write("sub/a.h")
        unit = await project.unit("-Iinclude", f"-I{project.root}/lib")
        fingerprints.append(unit.fingerprint(project.root))
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_shadow_within_the_same_tick_of_the_clock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directories = DirectoryStates()
    directories.ask_for(["a.h"])
    status = tmp_path.stat()
    monkeypatch.setattr(os, "stat", lambda path, **_: status)
    before = directories.listing(str(tmp_path))
    open(tmp_path / "a.h", "w").close()
    after = directories.listing(str(tmp_path))
    assert after is not before
    assert after.kinds(["a.h"]) == {"a.h": Kind.FILE}
