"""The members of an archive (ar), which an rlib is."""

from collections.abc import Iterator

_MAGIC = b"!<arch>\n"
_HEAD_BYTES = 60


def members_of(archive: bytes) -> Iterator[bytes]:
    """Their names, long ones as well; the symbol tables are left out.

    Raises ValueError for what is no archive of the GNU kind.
    """
    if not archive.startswith(_MAGIC):
        raise ValueError("not an archive")
    at, long_names = len(_MAGIC), b""
    while at + _HEAD_BYTES <= len(archive):
        name, digits = archive[at : at + 16].rstrip(), archive[at + 48 : at + 58].rstrip()
        if not digits.isdigit():
            raise ValueError("a damaged archive")
        size = int(digits)
        at += _HEAD_BYTES
        if name == b"//":
            long_names = archive[at : at + size]
        elif name[:1] == b"/" and name[1:].isdigit():
            yield long_names[int(name[1:]) :].partition(b"/\n")[0]
        elif not name.startswith(b"/"):
            yield name.removesuffix(b"/")
        at += size + size % 2
