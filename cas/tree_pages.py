"""Cuts a walked tree into the messages of GetTree (CAS14)."""

from collections.abc import AsyncIterator

from reapi.core.digest import Digest
from reapi.core.errors import InvalidArgument
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import GetTreeResponse

from .tree import walk_tree
from .wire import length_delimited

_PAGE_BYTES = 2 << 20
_MOST_PER_PAGE = 10_000


async def tree_pages(
    blobs: BlobStore, root: Digest, *, page_size: int, page_token: str
) -> AsyncIterator[bytes]:
    """Serialized GetTreeResponses; each but the last has the token to go on after it.

    A token is the digest of the last directory sent. Directories go out as the bytes that are
    stored. Raises InvalidArgument for a token that is not of this tree.
    """
    largest = min(page_size or _MOST_PER_PAGE, _MOST_PER_PAGE)
    page: list[bytes] = []
    page_bytes = 0
    last = ""
    skipping = page_token != ""
    async for directory in walk_tree(blobs, root):
        if skipping:
            skipping = str(directory.digest) != page_token
            continue
        full = len(page) == largest or page_bytes + len(directory.data) > _PAGE_BYTES
        if page and full:
            yield _page(page, last)
            page, page_bytes = [], 0
        page.append(directory.data)
        page_bytes += len(directory.data)
        last = str(directory.digest)
    if skipping:
        raise InvalidArgument("page_token is not one that this tree gave")
    yield _page(page, "")


def _page(directories: list[bytes], next_page_token: str) -> bytes:
    parts = [length_delimited(GetTreeResponse.DIRECTORIES_FIELD_NUMBER, one) for one in directories]
    if next_page_token:
        field = GetTreeResponse.NEXT_PAGE_TOKEN_FIELD_NUMBER
        parts.append(length_delimited(field, next_page_token.encode()))
    return b"".join(parts)
