"""`reapi-cli toolchain add|show`: compilers as the inputs of compiles."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import click

from .parameters import json_option
from .progress_line import ProgressLine, size_text
from .report import print_columns, print_json
from .session import current_settings, with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.compile.package import Package
    from reapi.clients.model import Progress


@click.group()
def toolchain() -> None:
    """Package compilers, so that executors need none of their own."""


@toolchain.command(epilog="\b\nExample:\n  reapi-cli toolchain add gcc g++\n  reapi-cc g++ -c a.cc")
@json_option
@click.argument("compilers", nargs=-1, required=True, metavar="COMPILER…")
def add(compilers: tuple[str, ...], as_json: bool) -> None:
    """Upload compilers with all that they need to run, before the first compile does so.

    COMPILER is found as a shell would find it. What the server has already is not sent again.
    """

    async def work(client: "Client") -> list[dict[str, Any]]:
        function = current_settings().digest_function
        with ProgressLine() as line:
            return [await _add(client, name, function, line) for name in compilers]

    added = with_client(work)
    if as_json:
        print_json(added)
        return
    for one in added:
        click.echo(
            f"{one['name']} {one['version']} for {one['target']}: {one['files']} files, "
            f"{size_text(one['size_bytes'])}; sent {size_text(one['uploaded_bytes'])} "
            f"in {one['milliseconds']} ms\n{one['root_digest']}"
        )


@toolchain.command(epilog="\b\nExample:\n  reapi-cli toolchain show clang++")
@json_option
@click.argument("compiler")
def show(compiler: str, as_json: bool) -> None:
    """List what belongs to a compiler, with sizes. Needs no server."""
    from reapi.core.errors import ReapiError

    from .session import explain

    try:
        package = _package(compiler, current_settings().digest_function)
    except ReapiError as error:
        raise click.ClickException(explain(error)) from error
    parts = package.compiler.toolchain
    if as_json:
        print_json(
            _json(compiler, package)
            | {
                "contents": [
                    {"path": path, "digest": str(digest)} for path, digest in parts.files.items()
                ],
                "search_directories": list(parts.directories),
            }
        )
        return
    rows = [(size_text(digest.size_bytes), path) for path, digest in parts.files.items()]
    print_columns([("SIZE", "FILE"), *rows, *(("", path + "/") for path in parts.directories)])


def _package(name: str, function_name: str) -> "Package":
    from reapi.clients.compile.package import package_compiler
    from reapi.clients.file_digests import default_cache_path
    from reapi.core.digest import function_named

    return package_compiler(
        name,
        environment=os.environ,
        working_directory=os.getcwd(),
        cache_path=default_cache_path(),
        function=function_named(function_name),
    )


async def _add(client: "Client", name: str, function: str, line: ProgressLine) -> dict[str, Any]:
    started = time.monotonic()
    package = await asyncio.to_thread(_package, name, function)
    sent: Progress = await client.upload_blobs(
        package.blobs, package.files, on_progress=line.show_transfer
    )
    return _json(name, package) | {
        "uploaded_blobs": sent.blobs_done,
        "uploaded_bytes": sent.bytes_done,
        "milliseconds": round((time.monotonic() - started) * 1000),
    }


def _json(name: str, package: "Package") -> dict[str, Any]:
    compiler = package.compiler
    return {
        "name": name,
        "path": compiler.path,
        "family": compiler.family.value,
        "version": compiler.version,
        "target": compiler.target,
        "root_digest": str(package.root_digest),
        "files": len(compiler.toolchain.files),
        "size_bytes": compiler.toolchain.size_bytes,
    }
