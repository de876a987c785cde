"""Commands that no worker could run are refused with a reason."""

from typing import Any

import pytest

from reapi.core.digest import digest_of
from reapi.core.errors import InvalidArgument
from reapi.executor.command import PreparedCommand, prepare_command, resolve
from reapi.executor.input_tree import EMPTY_DIRECTORY
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Command


def prepare(**fields: Any) -> PreparedCommand:
    data = Command(**{"arguments": ["true"], **fields}).SerializeToString()
    return prepare_command(data, digest_of(data), {"PATH": "/bin", "HOME": "/"})


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "..", "a/../..", "work/../../x", "a\0b", "x" * 4000, "d/" * 300 + "x"]
)
@pytest.mark.parametrize("field", ["output_paths", "output_files", "output_directories"])
def test_B14_an_output_that_leaves_the_input_root_is_refused(path: str, field: str) -> None:
    with pytest.raises(InvalidArgument):
        prepare(**{field: [path]})


@pytest.mark.parametrize("path", ["/", "..", "a/../../b"])
def test_IN2_a_working_directory_outside_the_input_root_is_refused(path: str) -> None:
    with pytest.raises(InvalidArgument):
        prepare(working_directory=path)


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("", ("work",)),
        (".", ("work",)),
        ("a/b", ("work", "a", "b")),
        ("../a", ("a",)),
        ("a/../b", ("work", "b")),
        ("..", ()),
    ],
)
def test_IN4_dots_that_stay_inside_are_resolved(path: str, segments: tuple[str, ...]) -> None:
    assert resolve(path, ("work",), "path") == segments


def test_B14_too_many_outputs_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="at most 50000"):
        prepare(output_paths=[str(number) for number in range(100_000)])
    command = prepare(output_paths=[f"{n}/" + "d/" * 200 + "x" for n in range(1000)])
    with pytest.raises(InvalidArgument, match="parent directories"):
        command.output_parents(EMPTY_DIRECTORY)


def test_repeated_outputs_count_once() -> None:
    assert [output.path for output in prepare(output_paths=["b", "a", "b"]).outputs] == ["b", "a"]


def test_IN1_a_command_without_arguments_is_refused() -> None:
    for arguments in ([], [""]):
        with pytest.raises(InvalidArgument, match="no arguments"):
            prepare(arguments=arguments)


@pytest.mark.parametrize(
    "variables",
    [[("", "x")], [("A=B", "x")], [("A\0", "x")], [("A", "x\0")], [("A", "x" * (5 << 20))]],
)
def test_B15_an_impossible_environment_is_refused(variables: list[tuple[str, str]]) -> None:
    listed = [Command.EnvironmentVariable(name=name, value=value) for name, value in variables]
    with pytest.raises(InvalidArgument):
        prepare(environment_variables=listed)


def test_B15_arguments_with_nul_or_of_many_megabytes_are_refused() -> None:
    for argument in ("a\0b", "x" * (10 << 20)):
        with pytest.raises(InvalidArgument):
            prepare(arguments=["true", argument])


def test_IN16_output_node_properties_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="mtime"):
        prepare(output_node_properties=["mtime"])


def test_G10_an_unknown_directory_format_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="format 9"):
        prepare(output_directory_format=9)


def test_bytes_that_are_no_command_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="is not a Command"):
        prepare_command(b"\xff\xff", digest_of(b"\xff\xff"), {})


def test_IN3_listed_variables_override_defaults() -> None:
    variable = Command.EnvironmentVariable(name="PATH", value="/opt")
    environment = prepare(environment_variables=[variable]).environment
    assert environment == {"PATH": "/opt", "HOME": "/"}
