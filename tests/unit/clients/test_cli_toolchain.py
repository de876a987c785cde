"""`reapi-cli toolchain`: compilers are packaged, uploaded and shown."""

import re
import shutil

import pytest

from tests.fakes.reapi_server import FakeReapiServer
from tests.unit.clients.test_cli import Cli, cli

__all__ = ["cli"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
async def test_toolchain_add_uploads_a_compiler_once(server: FakeReapiServer, cli: Cli) -> None:
    added = await cli("toolchain", "add", "gcc")
    assert added.exit_code == 0, added.stderr
    first, digest = added.stdout.decode().splitlines()
    assert re.match(r"gcc \S+ for \S+: \d+ files, .* MiB; sent .* MiB in \d+ ms$", first)
    (again,) = (await cli("toolchain", "add", "--json", "gcc")).json
    assert (again["root_digest"], again["uploaded_blobs"]) == (digest, 0)

    listed = (await cli("ls", "--recursive", "--json", digest)).json
    files = {entry["name"] for entry in listed if entry["kind"] == "file"}
    shown = (await cli("toolchain", "show", "--json", "gcc")).json
    assert shown["root_digest"] == digest
    assert any(name.endswith("/cc1") for name in files)
    assert {entry["path"] for entry in shown["contents"]} >= {f"{shown['path']}"}
    table = (await cli("toolchain", "show", "gcc")).stdout.decode()
    assert table.count("\n") == 1 + len(shown["contents"]) + len(shown["search_directories"])


async def test_toolchain_add_of_what_is_no_compiler_says_so(cli: Cli) -> None:
    for command in ("add", "show"):
        ended = await cli("toolchain", command, "env")
        assert ended.exit_code == 125
        assert "env cannot be packaged: " in ended.stderr
