"""Actions and Commands from outside (IN1-IN5, EX21, B14-B16 of the reliability catalogue)."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.core.digest import EMPTY_HASHES, SHA256, Digest, digest_of
from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    Command,
    Platform,
)
from reapi.scheduler.validation import (
    check_size,
    parse_action,
    parse_command,
    platform_properties,
    required_properties,
)

EMPTY = Digest(EMPTY_HASHES[SHA256], 0)


def check(**fields: object) -> Command:
    fields.setdefault("arguments", ["true"])
    data = Command(**fields).SerializeToString()  # type: ignore[arg-type]
    return parse_command(data, digest_of(data))


@pytest.mark.parametrize(
    "fields",
    [
        {"arguments": []},
        {"arguments": [""]},
        {"arguments": ["a\0b"]},
        {"arguments": ["x" * (9 << 20)]},
        {"environment_variables": [Command.EnvironmentVariable(name="A", value="b\0")]},
        {"environment_variables": [Command.EnvironmentVariable(name="", value="b")]},
        {"environment_variables": [Command.EnvironmentVariable(name="A=B", value="b")]},
        {"working_directory": "/abs"},
        {"working_directory": ".."},
        {"working_directory": "a/../../b"},
        {"working_directory": "a\0"},
        {"output_paths": ["/abs"]},
        {"output_paths": ["../out"]},
        {"output_paths": ["a/../../out"]},
        {"output_paths": ["out/"]},
        {"output_paths": ["a\0b"]},
        {"output_paths": ["x/" * 3000 + "y"]},
        {"output_paths": ["o"] * 100_000},
        {"working_directory": "a", "output_paths": ["../../out"]},
        {"output_files": [""]},
        {"output_files": ["same"], "output_directories": ["same"]},
        {"output_files": ["a", "a/b"]},
        {"output_files": ["a"], "output_directories": ["a/b/c"]},
        {"output_node_properties": ["mtime"]},
    ],
)
def test_IN1_to_IN4_B14_B15_bad_commands_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument):
        check(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"output_paths": [""]},
        {"output_directories": [""]},
        {"working_directory": "a/b", "output_paths": ["../out", "../../top"]},
        {"working_directory": "a/./b/..", "output_paths": ["x"]},
        {"output_paths": ["dir", "dir/file"]},
        {"output_paths": ["x"], "output_files": ["a", "a/b"]},
        {"output_files": ["a", "b/c"], "output_directories": ["b"]},
    ],
)
def test_IN4_B14_legal_paths_pass(fields: dict[str, object]) -> None:
    check(**fields)


def test_EX21_the_platform_of_the_action_wins_when_present() -> None:
    linux = Platform(properties=[Platform.Property(name="OS", value="linux")])
    command = Command(platform=linux)
    assert required_properties(Action(), command) == (("OS", "linux"),)
    assert required_properties(Action(platform=Platform()), command) == ()
    assert required_properties(Action(platform=linux), Command()) == (("OS", "linux"),)


def test_EX20_properties_are_put_in_one_order_and_repeated_names_are_kept() -> None:
    pairs = [("b", "2"), ("a", "2"), ("a", "1"), ("b", "2")]
    platform = Platform(properties=[Platform.Property(name=n, value=v) for n, v in pairs])
    assert platform_properties(platform) == (("a", "1"), ("a", "2"), ("b", "2"))


def test_a_platform_without_names_or_bounds_is_refused() -> None:
    for properties in (
        [Platform.Property(value="x")],
        [Platform.Property(name=str(n)) for n in range(1000)],
    ):
        with pytest.raises(InvalidArgument):
            platform_properties(Platform(properties=properties))


def test_an_action_too_large_to_read_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        check_size(Digest("a" * 64, 1 << 40), "action")


@given(st.binary(max_size=300))
def test_any_bytes_give_messages_or_invalid_argument(data: bytes) -> None:
    digest = digest_of(data)
    for parse in (parse_action, parse_command):
        with suppress(InvalidArgument):
            parse(data, digest)


def test_an_action_names_its_command_and_root() -> None:
    action = Action(command_digest=EMPTY.to_message(), input_root_digest=EMPTY.to_message())
    data = action.SerializeToString()
    assert parse_action(data, digest_of(data)) == (action, EMPTY, EMPTY)
