"""Names that somebody else has found in headers are as good as those found here, or not used."""

import os
from pathlib import Path

import pytest

from reapi.clients.compile.directory_states import DirectoryStates
from reapi.clients.compile.file_states import FileStates
from reapi.clients.compile.looked_up import LookedUp, names_in, pack_names, unpack_names
from reapi.clients.compile.lookups import Lookups
from reapi.clients.compile.model import CANONICAL_ROOT, View
from reapi.clients.compile.packing import pack
from reapi.clients.compile.search_path import SearchPath
from reapi.core.digest import Digest, digest_of
from reapi.protos.reapi.compile.v1 import manifest_pb2

HERE = View("/home/a/project", CANONICAL_ROOT)
THERE = View("/home/b/checkout", CANONICAL_ROOT)


def records(*paths: str) -> list[tuple[str, Digest]]:
    return [(path, digest_of(b"")) for path in paths]


def test_another_checkout_gets_them_with_its_own_directories() -> None:
    names = LookedUp({"a.h", "sub/b.h"}, {"/home/a/project/src": {"a.h"}, "/usr/include": {"a.h"}})
    told = unpack_names(
        pack_names(names, HERE), THERE, records("/home/b/checkout/src/x.c", "/usr/include/a.h")
    )
    assert told == LookedUp(
        {"a.h", "sub/b.h"}, {"/home/b/checkout/src": {"a.h"}, "/usr/include": {"a.h"}}
    )


def test_a_name_that_is_no_text_is_found_by_whoever_looks() -> None:
    name = os.fsdecode(b"caf\xe9.h")
    assert pack_names(LookedUp({"a.h", name}, {}), HERE) == b""


def test_no_header_is_read_for_names_that_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "x.c"
    source.write_bytes(b'#include "a.h"\n')
    (tmp_path / "first").mkdir()
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "a.h").touch()
    directories = (str(tmp_path / "first"), str(tmp_path / "place"))
    files = [(str(source), digest_of(source.read_bytes()))]
    search = SearchPath((), directories, (), ())
    view = View(str(tmp_path), CANONICAL_ROOT)
    found = Lookups(search, str(tmp_path), files, FileStates(), DirectoryStates())
    names = names_in(files, directories, FileStates())
    monkeypatch.setattr(FileStates, "facts", lambda *_: pytest.fail("a header was read"))
    told = Lookups(search, str(tmp_path), files, FileStates(), DirectoryStates(), names)
    assert told.fingerprint(view) == found.fingerprint(view)
    nothing = Lookups(search, str(tmp_path), files, FileStates(), DirectoryStates(), LookedUp())
    assert nothing.fingerprint(view) != found.fingerprint(view)


def _damage(**changes: object) -> bytes:
    message = manifest_pb2.LookedUp(everywhere=["a.h"])
    message.beside.add(directory="/home/a/project/src", names=[0])
    message.MergeFrom(manifest_pb2.LookedUp(**changes))  # type: ignore[arg-type]
    return pack(message.SerializeToString())


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"garbage",
        pack(b"\xff\xff\xff"),
        pack(bytes(1 << 26)),
        _damage(everywhere=["a\0b/../c.h"]),
        _damage(beside=[manifest_pb2.Beside(directory="/proc/self/fd", names=[0])]),
        _damage(beside=[manifest_pb2.Beside(directory="/home/a/project/src", names=[1])]),
    ],
)
def test_what_no_client_would_have_told_is_not_used(packed: bytes) -> None:
    inputs = records("/home/a/project/src/x.c")
    assert unpack_names(_damage(), HERE, inputs) is not None
    assert unpack_names(packed, HERE, inputs) is None
