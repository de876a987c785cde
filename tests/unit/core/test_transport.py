"""Which transport is chosen, and what is said where it cannot be."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from reapi.core import transport
from reapi.core.errors import InvalidArgument
from reapi.core.transport import choose_transport


def test_the_extension_is_taken_where_it_is_unless_another_one_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "reapi_transport", ModuleType("reapi_transport"))
    assert choose_transport("auto") == "native"
    assert choose_transport("native") == "native"
    assert choose_transport("grpc.aio") == "grpc.aio"


def test_what_is_wanted_and_not_installed_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "_PACKAGE", "reapi_no_such_package")
    assert choose_transport("auto") == "grpc.aio"
    assert choose_transport("grpc.aio") == "grpc.aio"
    assert not caplog.records
    with pytest.raises(InvalidArgument, match=r"pip install \./transport.*grpc\.aio"):
        choose_transport("native")


def test_an_extension_that_is_broken_is_left_out_and_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "reapi_broken_package.py").write_text("raise ImportError('of another machine')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(transport, "_PACKAGE", "reapi_broken_package")
    assert choose_transport("auto") == "grpc.aio"
    assert "of another machine" in caplog.text
    with pytest.raises(InvalidArgument, match="of another machine"):
        choose_transport("native")
