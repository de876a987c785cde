"""`reapi-cli upload|download|cat|ls`: blobs and trees by digest."""

import os
import sys
from typing import TYPE_CHECKING

import click

from .parameters import digest_argument, json_option
from .progress_line import ProgressLine
from .report import entry_json, print_columns, print_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.model import Progress
    from reapi.core.digest import Digest


@click.command(epilog="\b\nExample:\n  reapi-cli upload src")
@json_option
@click.argument("path", type=click.Path(exists=True))
def upload(path: str, as_json: bool) -> None:
    """Store a file, or a directory with all below it, and print its digest.

    What the server has already is not sent again.
    """
    sent: list[Progress] = []
    is_directory = os.path.isdir(path)

    async def work(client: "Client") -> "Digest":
        with ProgressLine() as line:

            def on_progress(progress: "Progress") -> None:
                sent[:] = [progress]
                line.show_transfer(progress)

            if is_directory:
                return await client.upload_tree(path, on_progress=on_progress)
            return await client.upload_file(path, on_progress=on_progress)

    digest = with_client(work)
    if not as_json:
        click.echo(str(digest))
        return
    print_json(
        {
            "name": path,
            "kind": "directory" if is_directory else "file",
            "digest": str(digest),
            "uploaded_blobs": sent[0].blobs_done,
            "uploaded_bytes": sent[0].bytes_done,
        }
    )


@click.command(epilog="\b\nExample:\n  reapi-cli download --tree HASH/SIZE out")
@digest_argument
@click.argument("path", type=click.Path())
@click.option("--tree", is_flag=True, help="The digest is of a Directory: write all below it.")
def download(digest: "Digest", path: str, tree: bool) -> None:
    """Write a blob to the file PATH, or a tree into the directory PATH.

    Nothing is written outside of PATH, and no file appears before it is complete and verified.
    """

    async def work(client: "Client") -> None:
        with ProgressLine() as line:
            if tree:
                await client.download_tree(digest, path, on_progress=line.show_transfer)
            else:
                await client.download_file(digest, path, on_progress=line.show_transfer)

    with_client(work)


@click.command(epilog="\b\nExample:\n  reapi-cli cat HASH/SIZE | less")
@digest_argument
def cat(digest: "Digest") -> None:
    """Print the bytes of a blob."""

    async def work(client: "Client") -> None:
        async for chunk in client.read(digest):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()

    with_client(work)


@click.command(epilog="\b\nExample:\n  reapi-cli ls -r HASH/SIZE")
@digest_argument
@click.option("-r", "--recursive", is_flag=True, help="List what is below, too.")
@json_option
def ls(digest: "Digest", recursive: bool, as_json: bool) -> None:
    """List the directory with this digest."""

    async def work(client: "Client") -> None:
        entries = await client.list_directory(digest, recursive=recursive)
        if as_json:
            print_json([entry_json(entry) for entry in entries])
            return
        rows = [("KIND", "DIGEST", "NAME")]
        for entry in entries:
            kind = "executable" if entry.is_executable else entry.kind.value
            name = f"{entry.path} -> {entry.target}" if entry.target else entry.path
            rows.append((kind, str(entry.digest or "-"), name))
        print_columns(rows)

    with_client(work)
