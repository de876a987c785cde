"""The names in archives as ar writes them."""

import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reapi.clients.compile.archives import members_of


def test_short_and_long_names_are_those_that_ar_was_given(tmp_path: Path) -> None:
    names = ["a.o", "odd.o", "exactly_15_by.o", f"{'long' * 20}.rcgu.o", "lib.rmeta"]
    for index, name in enumerate(names):
        (tmp_path / name).write_bytes(b"x" * index)
    subprocess.run(["ar", "rc", "made.a", *names], cwd=tmp_path, check=True)
    archive = (tmp_path / "made.a").read_bytes()
    assert [name.decode() for name in members_of(archive)] == names


def test_what_is_no_archive_is_an_error() -> None:
    with pytest.raises(ValueError, match="not an archive"):
        list(members_of(b"\x7fELF"))


def test_damaged_sizes_are_an_error() -> None:
    for size in (b"-60", b"", b"x"):
        head = b"a.o/".ljust(48) + size.ljust(10) + b"`\n"
        with pytest.raises(ValueError, match="damaged"):
            list(members_of(b"!<arch>\n" + head))


@given(st.binary(max_size=300))
def test_any_bytes_are_members_or_an_error(content: bytes) -> None:
    with suppress(ValueError):
        list(members_of(b"!<arch>\n" + content))
