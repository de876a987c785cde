"""Input roots as a compiler sees them, compared with the file system that they are made from."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.compile.model import CANONICAL_ROOT, Family, View
from reapi.clients.compile.root_tree import EXACT_VIEW, RootTree, RootTrees
from reapi.clients.compile.toolchain import Toolchain
from reapi.core.digest import SHA256, Digest, digest_of
from reapi.core.errors import InvalidArgument, NotFound
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory


def local_digest(path: str) -> Digest:
    return digest_of(Path(path).read_bytes())


def toolchain(
    *files: Path, family: Family = Family.GCC, directories: Iterable[Path] = ()
) -> Toolchain:
    digests = {str(path): local_digest(str(path)) for path in files}
    return Toolchain(family, "", digests, tuple(map(str, directories)), "/usr/bin", ())


NOTHING = toolchain()


@pytest.fixture
def trees() -> RootTrees:
    return RootTrees(local_digest, SHA256)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory whose path has no symlinks."""
    made = tmp_path.resolve() / "project"
    (made / "src").mkdir(parents=True)
    (made / "src" / "a.c").write_text("a")
    return made


def listing(tree: RootTree, below: str) -> dict[str, Any]:
    """What the root has below a path: directories as dicts, symlinks as "-> target", and files
    with an x if they are executable."""

    def read(digest: Digest) -> dict[str, Any]:
        message = Directory.FromString(tree.blobs[digest])
        found: dict[str, Any] = {f.name: "x" if f.is_executable else "" for f in message.files}
        found |= {link.name: f"-> {link.target}" for link in message.symlinks}
        for node in message.directories:
            found[node.name] = read(Digest(node.digest.hash, node.digest.size_bytes))
        return found

    found = read(tree.root_digest)
    for name in filter(None, below.split("/")):
        found = found[name]
    return found


def build(trees: RootTrees, project: Path, *files: str, **options: Any) -> RootTree:
    options = {"toolchain": NOTHING, "working_directory": str(project), **options}
    return trees.build([os.path.join(project, path) for path in files], **options)


def test_files_lie_at_their_own_paths(trees: RootTrees, project: Path) -> None:
    (project / "run").write_text("#!")
    (project / "run").chmod(0o755)
    tree = build(trees, project, "src/a.c", "run")
    assert listing(tree, str(project)) == {"src": {"a.c": ""}, "run": "x"}
    assert tree.files[digest_of(b"a")] == str(project / "src/a.c")
    assert tree.working_directory == str(project).lstrip("/")


def test_symlinks_on_the_way_and_at_the_end_are_kept(trees: RootTrees, project: Path) -> None:
    (project / "relative").symlink_to("src")
    (project / "absolute").symlink_to(project / "relative")
    (project / "src" / "b.c").symlink_to("a.c")
    tree = build(trees, project, "absolute/b.c")
    assert listing(tree, str(project)) == {
        "src": {"a.c": "", "b.c": "-> a.c"},
        "relative": "-> src",
        "absolute": f"-> {project / 'relative'}",
    }


def test_dots_in_the_middle_need_the_directories_that_they_go_through(
    trees: RootTrees, project: Path
) -> None:
    (project / "deep" / "er").mkdir(parents=True)
    (project / "link").symlink_to("deep/er")
    tree = build(trees, project, "link/../../src/./a.c", "deep//er/../../src/a.c")
    assert listing(tree, str(project)) == {
        "src": {"a.c": ""},
        "deep": {"er": {}},
        "link": "-> deep/er",
    }


def test_directories_that_exist_are_there(trees: RootTrees, project: Path) -> None:
    (project / "empty").mkdir()
    paths = [str(project / "empty"), str(project / "absent")]
    tree = build(trees, project, directories=paths)
    assert listing(tree, str(project)) == {"empty": {}}


def test_the_toolchain_is_there(trees: RootTrees, project: Path, tmp_path: Path) -> None:
    tool = tmp_path.resolve() / "tool"
    tool.write_text("tool")
    tool.chmod(0o755)
    there = toolchain(tool, directories=[project / "src"])
    tree = build(trees, project, toolchain=there)
    assert listing(tree, str(tool.parent)) == {"tool": "x", "project": {"src": {}}}
    assert tree.files == {digest_of(b"tool"): str(tool)}


def test_outputs_are_named_from_the_real_working_directory(trees: RootTrees, project: Path) -> None:
    (project / "build").mkdir()
    (project / "link").symlink_to(project / "build")
    outputs = ["a.o", "../src/a.o", str(project / "link" / "b.o")]
    tree = build(trees, project, working_directory=str(project / "link"), outputs=outputs)
    assert tree.outputs == dict(zip(["a.o", "../src/a.o", "b.o"], outputs, strict=True))
    assert f"/{tree.working_directory}" == str(project / "build")
    assert tree.logical_directory == str(project / "link")


@pytest.mark.parametrize("output", ["/dev/null", "/proc/x", "link", "src", "."])
def test_outputs_that_an_action_cannot_make_are_refused(
    trees: RootTrees, project: Path, output: str
) -> None:
    (project / "link").symlink_to("elsewhere")
    with pytest.raises(InvalidArgument):
        build(trees, project, outputs=[output])


def test_an_output_in_no_directory_is_refused(trees: RootTrees, project: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        build(trees, project, outputs=["absent/a.o"])


def test_devices_are_left_to_the_executor(trees: RootTrees, project: Path) -> None:
    assert listing(build(trees, project, "/dev/null"), "dev") == {}


@pytest.mark.parametrize("path", ["absent.h", "src/a.c/b.h", "absent/../src/a.c"])
def test_what_is_not_there_is_said(trees: RootTrees, project: Path, path: str) -> None:
    with pytest.raises(NotFound):
        build(trees, project, path)


def test_circles_and_depths_end(trees: RootTrees, project: Path) -> None:
    (project / "circle").symlink_to("circle")
    with pytest.raises(InvalidArgument, match="too many"):
        build(trees, project, outputs=["circle/a.o"])
    with pytest.raises(InvalidArgument, match="too many"):
        build(trees, project, outputs=["src/../" * 1000 + "a.o"])


def test_a_name_that_is_not_utf8_is_refused(trees: RootTrees, project: Path) -> None:
    name = os.fsdecode(b"\xff.c")
    (project / name).write_text("x")
    with pytest.raises(InvalidArgument, match="UTF-8"):
        build(trees, project, name)


class TestInodes:
    @pytest.fixture
    def twins(self, project: Path) -> tuple[str, str]:
        for name in ("b.h", "c.h"):
            (project / name).write_text("twins")
        return "b.h", "c.h"

    def test_clang_cannot_tell_files_of_the_same_content_apart(
        self, trees: RootTrees, project: Path, twins: tuple[str, str]
    ) -> None:
        clang = toolchain(family=Family.CLANG)
        with pytest.raises(InvalidArgument, match=r"b\.h and .*c\.h have the same content"):
            build(trees, project, *twins, toolchain=clang)

    def test_gcc_can_unless_they_are_to_be_included_once(
        self, trees: RootTrees, project: Path, twins: tuple[str, str]
    ) -> None:
        assert listing(build(trees, project, *twins), str(project)).keys() == set(twins)
        for name in twins:
            (project / name).write_text("/* */\n # pragma  once\n")
        with pytest.raises(InvalidArgument):
            build(trees, project, *twins)

    def test_a_file_by_two_names_is_one_file(self, trees: RootTrees, project: Path) -> None:
        (project / "b.h").hardlink_to(project / "src/a.c")
        (project / "c.h").symlink_to("b.h")
        clang = toolchain(family=Family.CLANG)
        build(trees, project, "b.h", "c.h", "src/a.c", toolchain=clang)


class TestViews:
    @pytest.fixture
    def view(self, project: Path) -> View:
        return View(str(project), CANONICAL_ROOT)

    def test_the_checkout_is_moved_and_nothing_else(
        self, trees: RootTrees, project: Path, view: View
    ) -> None:
        other = project.parent / "other.h"
        other.write_text("other")
        tree = build(trees, project, "src/a.c", str(other), view=view)
        assert listing(tree, CANONICAL_ROOT) == {"src": {"a.c": ""}}
        assert listing(tree, str(project.parent)) == {"other.h": ""}
        assert f"/{tree.working_directory}" == CANONICAL_ROOT
        assert tree.files[digest_of(b"a")] == str(project / "src/a.c")

    def test_symlinks_lead_to_the_same_files(
        self, trees: RootTrees, project: Path, view: View
    ) -> None:
        other = project.parent / "other"
        other.mkdir()
        (other / "o.h").write_text("o")
        (project / "inside").symlink_to(project / "src")
        (project / "relative").symlink_to("src")
        (project / "outside").symlink_to("../other")
        (other / "back").symlink_to("../project/src")
        files = ("inside/a.c", "relative/a.c", "outside/o.h", str(other / "back/a.c"))
        tree = build(trees, project, *files, view=view)
        assert listing(tree, CANONICAL_ROOT) == {
            "src": {"a.c": ""},
            "inside": f"-> {CANONICAL_ROOT}/src",
            "relative": "-> src",
            "outside": f"-> {other}",
        }
        assert listing(tree, str(other)) == {"o.h": "", "back": f"-> {CANONICAL_ROOT}/src"}

    def test_a_path_that_climbs_out_of_the_checkout_has_no_place(
        self, trees: RootTrees, project: Path, view: View
    ) -> None:
        (project.parent / "other.h").write_text("other")
        build(trees, project, "../other.h", view=EXACT_VIEW)
        with pytest.raises(NotFound):
            build(trees, project, "../other.h", view=view)
