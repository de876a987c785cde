"""How the command of an action becomes a persistent worker's command line and a request."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reapi.core.digest import digest_of
from reapi.executor.cached_file import FileKey
from reapi.executor.command import PreparedCommand
from reapi.executor.input_tree import InputDirectory
from reapi.executor.work_request import NotWork, Work, work_of
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Command

DATA = digest_of(b"data")


def _directory(files: dict[str, str], marked: tuple[str, ...] = ()) -> InputDirectory:
    keys = {name: FileKey(digest_of(text.encode()), False) for name, text in files.items()}
    return InputDirectory(DATA, keys, {}, {}, marked)


def _work(
    arguments: Sequence[str],
    root: Path,
    directory: InputDirectory | None = None,
    working_directory: tuple[str, ...] = (),
) -> Work:
    command = PreparedCommand(
        arguments, {"A": "1"}, working_directory, (), Command.TREE_AND_DIRECTORY
    )
    inputs = directory or _directory({})
    return work_of(
        command, str(root), inputs, instance_name="main", client_key="key", network=False
    )


@pytest.mark.parametrize("flag_file", ["@flags", "-flagfile=flags", "--flagfile=flags"])
def test_flag_files_at_the_end_are_the_work_and_what_is_before_starts_the_worker(
    tmp_path: Path, flag_file: str
) -> None:
    (tmp_path / "flags").write_text("A.java")
    work = _work(["javac", "-J-Xmx1g", flag_file], tmp_path)
    assert work.key.startup == ("javac", "-J-Xmx1g", "--persistent_worker")
    assert work.request.arguments == ["A.java"]


@pytest.mark.parametrize("arguments", [["javac", "A.java"], ["@flags"], ["javac", "@@flags"]])
def test_a_command_without_a_flag_file_at_the_end_is_not_for_a_worker(
    tmp_path: Path, arguments: list[str]
) -> None:
    with pytest.raises(NotWork, match="its last argument is not @FILE"):
        _work(arguments, tmp_path)


class TestRequest:
    def test_has_the_lines_of_all_flag_files_and_of_those_inside(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("-d\nout dir\n@sub/b\n@@literal\n")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/b").write_text("B.java\n")
        (tmp_path / "c").write_text("C.java")
        work = _work(["tool", "@a", "--flagfile=c"], tmp_path)
        assert work.request.arguments == ["-d", "out dir", "B.java", "@@literal", "C.java"]

    def test_names_inputs_as_the_working_directory_sees_them(self, tmp_path: Path) -> None:
        (tmp_path / "work").mkdir()
        (tmp_path / "work/flags").write_text("x")
        below = _directory({"A.java": "a"})
        root = InputDirectory(DATA, {}, {"work": below, "lib": _directory({"b.jar": "b"})}, {})
        work = _work(["tool", "@flags"], tmp_path, root, ("work",))
        assert {i.path: i.digest.decode() for i in work.request.inputs} == {
            "A.java": digest_of(b"a").hash,
            "../lib/b.jar": digest_of(b"b").hash,
        }

    def test_a_flag_file_that_includes_itself_ends(self, tmp_path: Path) -> None:
        (tmp_path / "flags").write_text("x\n@flags\n")
        assert set(_work(["tool", "@flags"], tmp_path).request.arguments) == {"x", "@flags"}

    @pytest.mark.parametrize(
        "name", ["absent", "/etc/hostname", "../bait", "link", "link_out/bait"]
    )
    def test_S6_a_flag_file_that_is_not_a_file_below_is_refused(
        self, tmp_path: Path, name: str
    ) -> None:
        root = tmp_path / "root"
        root.mkdir()
        (tmp_path / "bait").write_text("bait")
        (root / "link").symlink_to("../bait")
        (root / "link_out").symlink_to("..")
        with pytest.raises(NotWork, match="its flag file"):
            _work(["tool", f"@{name}"], root)

    def test_a_flag_file_that_is_no_text_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "flags").write_bytes(b"\xff\xfe")
        with pytest.raises(NotWork, match="cannot be read"):
            _work(["tool", "@flags"], tmp_path)


class TestTools:
    def test_differ_with_a_marked_file_and_its_place_and_not_with_others(self) -> None:
        plain = _directory({"tool.jar": "1", "A.java": "a"})
        marked = _directory({"tool.jar": "1", "A.java": "a"}, ("tool.jar",))
        assert plain.tools == b""
        assert marked.tools == _directory({"tool.jar": "1", "A.java": "b"}, ("tool.jar",)).tools
        assert marked.tools != _directory({"tool.jar": "2"}, ("tool.jar",)).tools
        assert marked.tools != _directory({"t.jar": "1"}, ("t.jar",)).tools

    def test_are_found_in_directories_below(self) -> None:
        inside = _directory({"tool.jar": "1"}, ("tool.jar",))
        here = InputDirectory(DATA, {}, {"lib": inside}, {})
        elsewhere = InputDirectory(DATA, {}, {"other": inside}, {})
        assert here.tools not in (b"", elsewhere.tools)
