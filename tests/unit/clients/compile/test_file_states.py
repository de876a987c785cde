"""Digests and facts of files that change, or only seem to."""

import os
from pathlib import Path

import pytest

from reapi.clients.compile import file_states
from reapi.clients.compile.file_states import FileStates
from reapi.core.digest import BLAKE3, SHA256, Digest, DigestFunction, digest_of


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stamp is trusted at once."""
    monkeypatch.setattr(file_states, "UNSETTLED_NS", -(1 << 60))


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of files that were hashed."""
    paths = []

    def hash_file(path: str, function: DigestFunction) -> Digest:
        paths.append(path)
        return digest_of(Path(path).read_bytes(), function)

    monkeypatch.setattr(file_states, "hash_file", hash_file)
    return paths


def test_a_write_within_the_same_tick_of_the_clock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, path = FileStates(), tmp_path / "a.h"
    path.write_bytes(b"a")
    status = path.stat()
    monkeypatch.setattr(os, "stat", lambda path, **_: status)
    assert files.hold([(str(path), digest_of(b"a"))])
    path.write_bytes(b"b")
    assert not files.hold([(str(path), digest_of(b"a"))])
    assert files.digest(str(path)) == digest_of(b"b")


@pytest.mark.usefixtures("settled")
def test_a_file_is_hashed_once_while_its_stamp_is_the_same(
    tmp_path: Path, hashed: list[str]
) -> None:
    files, path = FileStates(), tmp_path / "a.h"
    path.write_bytes(b"a")
    digest = files.digest(str(path))
    assert digest == digest_of(b"a")
    assert files.hold([(str(path), digest)])
    assert files.digest(str(path)) == digest
    assert hashed == [str(path)]


@pytest.mark.usefixtures("settled")
def test_a_touched_file_is_hashed_again_and_still_holds(tmp_path: Path, hashed: list[str]) -> None:
    files, path = FileStates(), tmp_path / "a.h"
    path.write_bytes(b"a")
    records = [(str(path), digest_of(b"a"))]
    assert files.hold(records)
    os.utime(path, ns=(1, 1))
    assert files.hold(records)
    assert files.hold(records)
    assert hashed == [str(path)] * 2


@pytest.mark.usefixtures("settled")
def test_a_file_that_changes_and_changes_back_holds_again(tmp_path: Path) -> None:
    files, path = FileStates(), tmp_path / "a.h"
    path.write_bytes(b"a")
    records = [(str(path), digest_of(b"a"))]
    assert files.hold(records)
    path.write_bytes(b"longer")
    assert not files.hold(records)
    path.write_bytes(b"a")
    os.utime(path, ns=(1, 1))
    assert files.hold(records)


@pytest.mark.usefixtures("settled")
def test_a_file_replaced_by_one_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    files, path, other = FileStates(), tmp_path / "a.h", tmp_path / "b.h"
    for file, content in ((path, b"a"), (other, b"b")):
        file.write_bytes(content)
        os.utime(file, ns=(1, 1))
    records = [(str(path), digest_of(b"a"))]
    assert files.hold(records)
    os.rename(other, path)
    assert not files.hold(records)


@pytest.mark.usefixtures("settled")
def test_a_symlink_that_leads_elsewhere_is_noticed(tmp_path: Path) -> None:
    files, link = FileStates(), tmp_path / "a.h"
    (tmp_path / "one").write_bytes(b"one")
    (tmp_path / "two").write_bytes(b"two")
    link.symlink_to("one")
    records = [(str(link), digest_of(b"one"))]
    assert files.hold(records)
    link.unlink()
    link.symlink_to("two")
    assert not files.hold(records)


def test_what_is_no_regular_file_has_neither_digest_nor_facts(tmp_path: Path) -> None:
    files = FileStates()
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "pipe", ".", "absent/deeper"):
        path = str(tmp_path / name)
        assert files.digest(path) is None
        assert files.facts(path) is None
        assert not files.hold([(path, digest_of(b""))])


def test_facts_follow_the_content(tmp_path: Path) -> None:
    files, path = FileStates(BLAKE3), tmp_path / "a.h"
    path.write_text("#include <a.h>\n")
    facts = files.facts(str(path))
    assert facts is not None
    assert facts.angled == ("a.h",)
    assert files.facts(str(path)) is facts
    assert files.digest(str(path)) == digest_of(b"#include <a.h>\n", BLAKE3)
    path.write_text("#include <b.h>\n")
    facts = files.facts(str(path))
    assert facts is not None
    assert facts.angled == ("b.h",)


def test_nothing_is_known_of_a_source_that_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_states, "_LARGEST_SOURCE_BYTES", 10)
    path = tmp_path / "a.h"
    path.write_bytes(bytes(11))
    facts = FileStates().facts(str(path))
    assert facts is not None
    assert facts.has_time
    assert facts.has_computed_check


@pytest.mark.usefixtures("settled")
def test_only_what_was_used_last_is_remembered(
    tmp_path: Path, hashed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_states, "_MOST_FILES", 8)
    files = FileStates(SHA256)
    paths = [str(tmp_path / str(number)) for number in range(20)]
    for path in paths:
        Path(path).touch()
        files.digest(path)
        files.digest(paths[0])
    assert hashed == paths
    files.digest(paths[1])
    assert hashed == [*paths, paths[1]]
