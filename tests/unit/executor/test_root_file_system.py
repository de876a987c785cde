"""Which input roots are the file system of their command, and what is mounted on them."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import pytest

from reapi.core.digest import digest_of
from reapi.core.errors import FailedPrecondition
from reapi.executor.cached_file import FileKey
from reapi.executor.input_tree import InputDirectory
from reapi.executor.root_file_system import (
    MountPoints,
    find_file,
    is_root_file_system,
    mount_points,
)

ANY = digest_of(b"whatever")
TOOL = FileKey(ANY, is_executable=True)
TEXT = FileKey(ANY, is_executable=False)

Tree: TypeAlias = Mapping[str, "FileKey | str | Tree"]


def tree(entries: Tree) -> InputDirectory:
    """Files by their key, symlinks by their target."""
    return InputDirectory(
        ANY,
        {name: each for name, each in entries.items() if isinstance(each, FileKey)},
        {name: tree(each) for name, each in entries.items() if isinstance(each, Mapping)},
        {name: each for name, each in entries.items() if isinstance(each, str)},
    )


BUSYBOX = {"bin": {"busybox": TOOL, "sh": "busybox", "gcc": "/bin/busybox"}}
MERGED = {
    "bin": "usr/bin",
    "usr": {"bin": {"sh": TOOL, "gcc": "../../opt/gcc"}},
    "opt": {"gcc": TOOL},
}
PATH = {"PATH": "/usr/bin:/bin"}


@pytest.mark.parametrize("entries", [BUSYBOX, MERGED])
@pytest.mark.parametrize("name", ["sh", "/bin/sh", "gcc", "/bin/gcc", "/../bin/./gcc"])
def test_a_program_that_is_found_beside_a_shell_makes_a_root_file_system(
    entries: Tree, name: str
) -> None:
    assert is_root_file_system(tree(entries), [name], PATH)


@pytest.mark.parametrize(
    ("entries", "arguments", "environment"),
    [
        # A tree of Bazel: tools of the host, and scripts in a package that is called bin.
        ({"bazel-out": {}, "external": {}, "a.c": TEXT}, ["/usr/bin/gcc"], PATH),
        ({"bin": {"gcc": TOOL}}, ["/bin/gcc"], PATH),
        ({"bin": {"gcc": TOOL}}, ["gcc"], PATH),
        ({"bin": {"sh": TEXT, "gcc": TOOL}}, ["/bin/gcc"], PATH),
        # A program of the host, or one by its place in the tree.
        (BUSYBOX, ["python3"], PATH),
        (BUSYBOX, ["/usr/local/bin/gcc"], PATH),
        (BUSYBOX, ["bin/gcc"], PATH),
        (BUSYBOX, ["./gcc"], PATH),
        # PATH leads nowhere, or not from the root.
        (BUSYBOX, ["gcc"], {}),
        (BUSYBOX, ["gcc"], {"PATH": "bin::."}),
        (BUSYBOX, ["/bin"], PATH),
        ({"bin": {"sh": "sh", "a": TOOL}}, ["/bin/a"], PATH),
    ],
)
def test_other_trees_stand_beside_the_tools_of_the_host(
    entries: Tree, arguments: Sequence[str], environment: Mapping[str, str]
) -> None:
    assert not is_root_file_system(tree(entries), arguments, environment)


def test_links_are_followed_as_inside_of_the_root() -> None:
    root = tree({"a": {"up": "../../../b", "absolute": "/b"}, "b": TEXT, "loop": "loop"})
    assert find_file(root, "/a/up") == find_file(root, "/a/absolute") == TEXT
    assert find_file(root, "/loop") is None
    assert find_file(root, "/b/c") is None
    assert find_file(root, "/a/absent/../up") is None


def test_what_the_root_does_not_have_is_made_for_the_mounts() -> None:
    everything = ("proc", "dev", "tmp")
    assert mount_points(tree({}), [], {}) == MountPoints(everything, (), temporary=True)
    root = tree({"dev": {"null": TEXT}, "tmp": {}})
    found = mount_points(root, [], {"out": {}})
    assert found == MountPoints(("proc",), (), temporary=True)
    assert found.parents({"out": {}}) == {"proc": {}, "out": {}}


@pytest.mark.parametrize(
    ("output", "hidden"),
    [(("out",), ()), (("dev",), ("dev",)), ((), ("dev", "tmp"))],
)
def test_what_was_made_for_the_mounts_is_hidden_where_an_output_would_show_it(
    output: tuple[str, ...], hidden: tuple[str, ...]
) -> None:
    root = tree({"proc": {}})
    assert mount_points(root, [output], {}).hidden == hidden


@pytest.mark.parametrize(
    ("entries", "outputs", "parents"),
    [
        ({"tmp": {"input": TEXT}}, [], {}),
        ({"tmp": "var/tmp"}, [], {}),
        ({"tmp": TEXT}, [], {}),
        ({}, [("tmp", "out")], {"tmp": {}}),
        ({}, [("tmp",)], {}),
        ({"link": "tmp"}, [("link", "out")], {"tmp": {}}),
    ],
)
def test_a_tmp_that_is_in_use_is_that_of_the_input_root(
    entries: Tree, outputs: Sequence[Sequence[str]], parents: dict[str, dict[str, object]]
) -> None:
    found = mount_points(tree(entries), outputs, parents)  # type: ignore[arg-type]
    assert not found.temporary
    assert "tmp" not in found.made


@pytest.mark.parametrize("entries", [{"proc": TEXT}, {"dev": "/oldroot/dev"}])
def test_nothing_is_mounted_on_what_is_no_directory(entries: Tree) -> None:
    with pytest.raises(FailedPrecondition, match="is not a directory"):
        mount_points(tree(entries), [], {})
