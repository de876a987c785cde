"""`reapi-cli image import`: root file systems for actions to run in."""

from typing import TYPE_CHECKING

import click

from .parameters import json_option
from .progress_line import ProgressLine, size_text
from .report import print_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.image import ImportedImage


@click.group()
def image() -> None:
    """Store root file systems for commands to run in."""


@image.command(
    "import",
    epilog="\b\nExample:\n  docker export $(docker create gcc:14) > gcc.tar"
    '\n  reapi-cli run --platform "$(reapi-cli image import gcc.tar)" -- gcc --version',
)
@json_option
@click.argument("archive", type=click.Path(exists=True, dir_okay=False), metavar="ROOTFS.tar")
def import_(archive: str, as_json: bool) -> None:
    """Store the root file system in an archive and print the platform property that asks for it.

    ROOTFS.tar is a tar archive, or an image as `docker save` and `skopeo copy` write it, also
    compressed (gzip, bzip2, xz, zstd). What the server has already is not sent again.
    """

    async def work(client: "Client") -> "ImportedImage":
        with ProgressLine() as line:
            return await client.import_image(archive, on_progress=line.show_run)

    found = with_client(work)
    name, value = found.platform_property
    if as_json:
        print_json(
            {
                "name": archive,
                "platform_property": {"name": name, "value": value},
                "tree_digest": str(found.tree_digest),
                "root_digest": str(found.root_digest),
                "layers": found.layers,
                "files": found.files,
                "directories": found.directories,
                "symlinks": found.symlinks,
                "size_bytes": found.size_bytes,
                "left_out": dict(found.left_out),
                "uploaded_blobs": found.uploaded_blobs,
                "uploaded_bytes": found.uploaded_bytes,
            }
        )
        return
    click.echo(
        f"{found.files} files, {found.directories} directories and {found.symlinks} symlinks, "
        f"{size_text(found.size_bytes)}; sent {found.uploaded_blobs} blobs, "
        f"{size_text(found.uploaded_bytes)}",
        err=True,
    )
    for kind, count in sorted(found.left_out.items()):
        click.echo(f"left out: {count} {kind}", err=True)
    click.echo(f"{name}={value}")
