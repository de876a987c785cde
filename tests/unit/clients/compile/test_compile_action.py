"""The Action of a compile, as an executor reads it."""

import os
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.compile.compile_action import CompileAction, CompileActions
from reapi.clients.compile.model import CANONICAL_ROOT, Family, View
from reapi.clients.compile.toolchain import Toolchain
from reapi.core.digest import SHA256, Digest, digest_of
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    Command,
    Directory,
)


def local_digest(path: str) -> Digest:
    return digest_of(Path(path).read_bytes())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "project"
    (made / "build").mkdir(parents=True)
    (made / "tools").mkdir()
    for name in ("a.c", "a.h", "tools/gcc"):
        (made / name).write_text(name)
    return made


def make(project: Path, actions: CompileActions | None = None, **options: Any) -> CompileAction:
    compiler = str(project / "tools/gcc")
    tools = {compiler: local_digest(compiler)}
    directories = (str(project / "tools"),)
    toolchain = Toolchain(Family.GCC, "", tools, (), ":".join((*directories, "/usr/bin")), ())
    given: dict[str, Any] = {
        "arguments": [compiler, "-c", "../a.c"],
        "environment": {"LC_ALL": "C", "CPATH": "x"},
        "working_directory": str(project / "build"),
        "outputs": ["a.o"],
        "inputs": [str(project / "a.c"), str(project / "a.h")],
    }
    actions = actions or CompileActions(local_digest, SHA256)
    return actions.make(toolchain, **(given | options))


def read(action: CompileAction) -> tuple[Action, Command]:
    message = Action.FromString(action.blobs[action.digest])
    digest = message.command_digest
    return message, Command.FromString(action.blobs[Digest(digest.hash, digest.size_bytes)])


def variables(command: Command) -> dict[str, str]:
    return {each.name: each.value for each in command.environment_variables}


def test_the_command_runs_in_the_working_directory_below_the_root(project: Path) -> None:
    action, command = read(make(project))
    assert list(command.arguments) == [str(project / "tools/gcc"), "-c", "../a.c"]
    assert f"/{command.working_directory}" == str(project / "build")
    assert list(command.output_paths) == ["a.o"]
    path = f"{project}/tools:/usr/bin"
    assert variables(command) == {"LC_ALL": "C", "CPATH": "x", "PATH": path}
    properties = [(each.name, each.value) for each in action.platform.properties]
    assert properties == [("input-root", "/")]
    assert command.platform == action.platform


def test_IN13_equal_compiles_are_equal_bytes_in_the_canonical_form(project: Path) -> None:
    one = make(project, outputs=["b.o", "a.o"], environment={"B": "", "A": ""})
    inputs = [str(project / "a.h"), str(project / "build/../a.c"), str(project / "a.h")]
    actions = CompileActions(local_digest, SHA256)
    make(project, actions, outputs=["other.o"])
    other = make(
        project, actions, outputs=["a.o", "b.o"], environment={"A": "", "B": ""}, inputs=inputs
    )
    assert one.digest == other.digest
    action, command = read(one)
    for message in (action, command):
        data = message.SerializeToString(deterministic=True)
        assert one.blobs[digest_of(data)] == data
    assert list(command.output_paths) == ["a.o", "b.o"]
    todo = [action.input_root_digest]
    while todo:
        digest = todo.pop()
        data = one.blobs[Digest(digest.hash, digest.size_bytes)]
        directory = Directory.FromString(data)
        assert directory.SerializeToString(deterministic=True) == data
        for nodes in (directory.files, directory.directories, directory.symlinks):
            names = [node.name.encode() for node in nodes]
            assert names == sorted(names)
        todo += [node.digest for node in directory.directories]


def test_all_blobs_have_the_digests_that_they_are_called_by(project: Path) -> None:
    action = make(project)
    assert all(digest_of(data) == digest for digest, data in action.blobs.items())
    assert {local_digest(path) for path in action.files.values()} == action.files.keys()
    assert {os.path.basename(path) for path in action.files.values()} == {"a.c", "a.h", "gcc"}


def test_the_platform_of_the_operator_comes_on_top(project: Path) -> None:
    actions = CompileActions(
        local_digest, SHA256, platform=[("pool", "big"), ("OSFamily", "linux")], timeout_seconds=60
    )
    action, _ = read(make(project, actions))
    properties = [(each.name, each.value) for each in action.platform.properties]
    assert properties == [("OSFamily", "linux"), ("input-root", "/"), ("pool", "big")]
    assert action.timeout.seconds == 60


def test_another_name_of_the_working_directory_is_the_pwd(project: Path) -> None:
    logical = project.parent / "logical"
    logical.symlink_to(project)
    _, command = read(make(project, working_directory=str(logical / "build")))
    assert variables(command)["PWD"] == str(logical / "build")
    assert f"/{command.working_directory}" == str(project / "build")


def test_a_view_moves_the_compiler_of_a_checkout_with_it(project: Path) -> None:
    _, command = read(make(project, view=View(str(project), CANONICAL_ROOT)))
    assert command.arguments[0] == f"{CANONICAL_ROOT}/tools/gcc"
    assert variables(command)["PATH"] == f"{CANONICAL_ROOT}/tools:/usr/bin"
    assert f"/{command.working_directory}" == f"{CANONICAL_ROOT}/build"
    assert "PWD" not in variables(command)


@pytest.mark.parametrize(
    "arguments", [["gcc"] * 9000, ["gcc", "-D" + "x" * 200_000], ["gcc", os.fsdecode(b"-D\xff")]]
)
def test_arguments_that_no_executor_takes_are_refused(project: Path, arguments: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        make(project, arguments=arguments)
