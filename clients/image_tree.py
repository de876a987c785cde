"""Makes the tree of a root file system from the members of archives, layer upon layer."""

import tarfile
from collections import Counter
from collections.abc import Callable

from reapi.core.digest import Digest, DigestFunction
from reapi.core.directory import is_safe_name, is_usable_target
from reapi.core.errors import FailedPrecondition, InvalidArgument

from .file_section import FileSection
from .merkle import TreeNode
from .paths import DEEPEST
from .tar_archive import LARGEST_ARCHIVE_BYTES, members

MOST_ENTRIES = 1_000_000
LONGEST_PATH_BYTES = 3_500
_CHUNK_BYTES = 1 << 20
_MOST_LINKS = 40
_WHITEOUT = ".wh."
_NOTE = ".wh..wh."
"""What a storage driver left for itself begins with it, and so does this one:"""

_OPAQUE = ".wh..wh..opq"

_LEFT_OUT = {
    tarfile.CHRTYPE: "character devices",
    tarfile.BLKTYPE: "block devices",
    tarfile.FIFOTYPE: "FIFOs",
}


class ImageTree:
    """A root file system while its layers are added; `contents` says where its files' bytes are.

    Names stay below the root whatever an archive says. Symlinks stay as they are, wherever they
    lead; those in the middle of a member's path are followed inside of the tree. A hard link is
    one more file. Owners, times and modes other than the executable bit are not kept.
    """

    def __init__(self, function: DigestFunction) -> None:
        self.root = TreeNode()
        self.contents: dict[Digest, FileSection] = {}
        self.left_out: Counter[str] = Counter()
        """What cannot be in a tree, by its kind."""
        self._function = function
        self._entries = 0
        self._size_bytes = 0

    def add(self, archive: FileSection, *, is_layer: bool, is_stopped: Callable[[], bool]) -> None:
        """Adds all members of an uncompressed archive; those of a layer may remove what is below.

        Blocks while it hashes. Raises InvalidArgument that names the member at fault.
        """
        added: set[tuple[str, ...]] = set()
        for member in members(archive):
            if is_stopped():
                raise FailedPrecondition("the import was given up")
            self._entries += 1
            self._size_bytes += member.size
            if self._entries > MOST_ENTRIES or self._size_bytes > LARGEST_ARCHIVE_BYTES:
                raise InvalidArgument(
                    f"{archive.name} has more than {MOST_ENTRIES} members or "
                    f"{LARGEST_ARCHIVE_BYTES} bytes"
                )
            try:
                self._add(archive, member, added, is_layer)
            except InvalidArgument as error:
                raise InvalidArgument(
                    f"{archive.name}: member {member.name[:300]!a}: {error.message}"
                ) from error

    def _add(
        self,
        archive: FileSection,
        member: tarfile.TarInfo,
        added: set[tuple[str, ...]],
        is_layer: bool,
    ) -> None:
        segments = _segments(member.name)
        if not segments:
            return  # the root itself
        parents, name = segments[:-1], segments[-1]
        if is_layer and any(part.startswith(_NOTE) for part in segments) and name != _OPAQUE:
            return
        path, node = self._enter(parents)
        if is_layer and name.startswith(_WHITEOUT):
            _white_out(node, path, name, added)
            return
        kind = _LEFT_OUT.get(member.type)
        if kind is not None:
            self.left_out[kind] += 1
            return
        _check_length((*path, name))
        added.add((*path, name))
        if member.isdir():
            if name not in node.directories:
                _remove(node, name)
                node.directories[name] = TreeNode()
        elif member.issym():
            if not is_usable_target(_text(member.linkname)):
                raise InvalidArgument("it is a symlink without a usable target")
            _remove(node, name)
            node.symlinks[name] = member.linkname
        elif member.islnk():
            self._link(node, name, _segments(member.linkname))
        elif member.isreg() and not member.issparse():
            section = archive.part(
                f"{archive.name}: {member.name}", member.offset_data, member.size
            )
            digest = self._hash(section, member.size)
            _remove(node, name)
            node.files[name] = digest, bool(member.mode & 0o111)
        else:
            raise InvalidArgument(
                "it is of a kind that is not served; make the archive without sparse files"
            )

    def _link(self, node: TreeNode, name: str, target: list[str]) -> None:
        """Another name for a file that is there already."""
        linked = self._enter(target[:-1])[1] if target else self.root
        last = target[-1] if target else ""
        if last in linked.files:
            file = linked.files[last]
            _remove(node, name)
            node.files[name] = file
        elif last in linked.symlinks:
            symlink = linked.symlinks[last]
            _remove(node, name)
            node.symlinks[name] = symlink
        else:
            raise InvalidArgument(f"it is a hard link to {'/'.join(target)!a}, which is not there")

    def _enter(self, segments: list[str]) -> tuple[tuple[str, ...], TreeNode]:
        """The directory at a path, made where it is not there; symlinks on the way are followed.

        `..` at the root is the root, as it is in a file system.
        """
        names: list[str] = []
        nodes = [self.root]
        todo = segments[::-1]
        links = 0
        while todo:
            segment = todo.pop()
            if segment == "..":
                del names[-1:], nodes[len(names) + 1 :]
                continue
            target = nodes[-1].symlinks.get(segment)
            if target is None:
                if segment in nodes[-1].files:
                    raise InvalidArgument(f"{'/'.join([*names, segment])!a} is not a directory")
                names.append(segment)
                _check_length(names)
                nodes.append(nodes[-1].directories.setdefault(segment, TreeNode()))
                continue
            links += 1
            if links > _MOST_LINKS:
                raise InvalidArgument("the symlinks on its way lead in circles")
            if target.startswith("/"):
                names, nodes = [], [self.root]
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        return tuple(names), nodes[-1]

    def _hash(self, content: FileSection, size_bytes: int) -> Digest:
        hasher = self._function.new()
        position = 0
        while chunk := content.read(position, _CHUNK_BYTES):
            hasher.update(chunk)
            position += len(chunk)
        if position != size_bytes:
            raise InvalidArgument(f"it is cut short after {position} of {size_bytes} bytes")
        digest = Digest(hasher.hexdigest(), size_bytes, self._function)
        self.contents.setdefault(digest, content)
        return digest


def _white_out(
    node: TreeNode, path: tuple[str, ...], name: str, added: set[tuple[str, ...]]
) -> None:
    """Removes what lower layers have at a name, or all that they have in a directory."""
    if name == _OPAQUE:
        hidden = [*node.files, *node.symlinks, *node.directories]
    else:
        hidden = [name.removeprefix(_WHITEOUT)]
    for one in hidden:
        if (*path, one) not in added:
            _remove(node, one)


def _remove(node: TreeNode, name: str) -> None:
    node.files.pop(name, None)
    node.symlinks.pop(name, None)
    node.directories.pop(name, None)


def _segments(name: str) -> list[str]:
    segments = [part for part in _text(name).split("/") if part not in ("", ".")]
    if not all(is_safe_name(segment) for segment in segments):
        raise InvalidArgument("its name leads out of the root or is too long")
    return segments


def _text(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{name[:300]!a} is not UTF-8") from error
    return name


def _check_length(segments: list[str] | tuple[str, ...]) -> None:
    if len(segments) > DEEPEST:
        raise InvalidArgument(f"it lies more than {DEEPEST} directories deep")
    if sum(len(segment.encode()) + 1 for segment in segments) > LONGEST_PATH_BYTES:
        raise InvalidArgument(f"its path has more than {LONGEST_PATH_BYTES} bytes")
