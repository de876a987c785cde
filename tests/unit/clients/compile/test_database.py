import json
from pathlib import Path
from typing import Any

import pytest

from reapi.clients.compile.database import read_database
from reapi.clients.compile.model import Invocation
from reapi.core.errors import InvalidArgument, NotFound


def _read(path: Path, entries: Any = None) -> list[Invocation]:
    if entries is not None:
        (path / "compile_commands.json").write_text(json.dumps(entries))
    return read_database(path, environment={"A": "b"}, umask=0o022, wants_colour=False)


def test_commands_and_arguments_are_read_as_a_shell_and_as_they_are(tmp_path: Path) -> None:
    entries = [
        {"directory": str(tmp_path), "command": "cc -DX='a b' -c x.c", "file": "x.c"},
        {"directory": str(tmp_path), "arguments": ["cc", "-DX=a b", "-c", "y.c"], "file": "y.c"},
    ]
    found = _read(tmp_path, entries)
    assert [each.arguments for each in found] == [
        ("cc", "-DX=a b", "-c", "x.c"),
        ("cc", "-DX=a b", "-c", "y.c"),
    ]
    assert {each.working_directory for each in found} == {str(tmp_path)}
    assert found[0].environment == {"A": "b"}


def test_a_relative_directory_is_below_that_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    (found,) = _read(tmp_path, [{"directory": "build", "arguments": ["cc", "-c", "x.c"]}])
    assert found.working_directory == str(tmp_path / "build")


def test_what_stands_there_twice_is_done_once(tmp_path: Path) -> None:
    entry = {"directory": str(tmp_path), "arguments": ["cc", "-c", "x.c"]}
    assert len(_read(tmp_path, [entry, entry])) == 1


def test_a_missing_database_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="CMAKE_EXPORT_COMPILE_COMMANDS"):
        _read(tmp_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "is not a list"),
        ([1], "entry 0 has no directory"),
        ([{"directory": "/"}], "entry 0 has neither arguments nor a command"),
        ([{"directory": "/", "command": "cc 'x.c"}], "no shell command"),
        ([{"directory": "/", "arguments": ["cc", 1]}], "must be strings"),
        ([{"directory": "absent", "command": "cc x.c"}], "absent is not a directory"),
        ([{"directory": "/", "command": ""}], "neither"),
    ],
)
def test_a_mistake_is_named_with_its_entry(tmp_path: Path, entries: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        _read(tmp_path, entries)


def test_what_is_no_json_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "compile_commands.json"
    for text in (b"[", b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(text)
        with pytest.raises(InvalidArgument, match="cannot read"):
            _read(path)
