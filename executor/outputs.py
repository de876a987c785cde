"""Collects the declared outputs of an action into an ActionResult (IN4 to IN12, IN17)."""

import errno
import os
import stat
from collections.abc import Collection, Sequence
from functools import partial

from reapi.core.digest import digest_of
from reapi.core.errors import FailedPrecondition, ResourceExhausted
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .beneath import locate, open_beneath, open_regular_file
from .cached_file import FileKey
from .command import DeclaredOutput
from .input_tree import DEEPEST_TREE, MOST_NODES
from .limits import size_text
from .local_cache import LocalFile
from .output_blobs import OutputBlobs

_INLINE_BYTES = 1 << 20
"""Of all output files that are sent inside the result because the client asked for it."""

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
}


def collect_outputs(
    root: str,
    outputs: Sequence[DeclaredOutput],
    format: re_pb2.Command.OutputDirectoryFormat,
    inline: Collection[str],
    blobs: OutputBlobs,
    most_bytes: int,
) -> tuple[re_pb2.ActionResult, list[LocalFile]]:
    """The result with all outputs that are there, in the order declared; their bytes in `blobs`.

    The second value are all files of the outputs, where they are now.
    Blocks while it reads and hashes. No process may change the tree meanwhile. Raises
    FailedPrecondition naming an output that cannot be one, ResourceExhausted for too many and for
    more than `most_bytes`, holes included.
    """
    collector = _Collector(root, format, frozenset(inline), blobs, most_bytes)
    try:
        for output in outputs:
            collector.collect(output)
    finally:
        collector.close()
    return collector.result, collector.files


class _Collector:
    def __init__(
        self,
        root: str,
        format: re_pb2.Command.OutputDirectoryFormat,
        inline: frozenset[str],
        blobs: OutputBlobs,
        most_bytes: int,
    ) -> None:
        self.result = re_pb2.ActionResult()
        self.files: list[LocalFile] = []
        self._root = root
        self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._format = format
        self._inline = inline
        self._inline_left = _INLINE_BYTES
        self._blobs = blobs
        self._nodes_left = MOST_NODES
        self._most_bytes = self._bytes_left = most_bytes

    def close(self) -> None:
        os.close(self._root_fd)

    def collect(self, output: DeclaredOutput) -> None:
        location = locate(self._root_fd, output.segments)
        if location is None:
            return
        try:
            self._collect_at(output, location.parent_fd, location.parent, location.name)
        except FileNotFoundError:
            return  # IN7
        except OSError as error:
            raise FailedPrecondition(
                f"output {output.path!r} cannot be read: {os.strerror(error.errno or errno.EIO)}"
            ) from error
        finally:
            os.close(location.parent_fd)

    def _collect_at(
        self, output: DeclaredOutput, parent_fd: int, parent: tuple[str, ...], name: str
    ) -> None:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            self._collect_symlink(output, parent_fd, name)
        elif stat.S_ISDIR(status.st_mode):
            if output.kind == "file":
                raise FailedPrecondition(f"output file {output.path!r} is a directory")
            self._collect_directory(output, parent_fd, parent, name)
        else:
            if output.kind == "directory" and stat.S_ISREG(status.st_mode):
                raise FailedPrecondition(f"output directory {output.path!r} is a file")
            self._collect_file(output, parent_fd, "/".join((*parent, name)), status)

    def _collect_file(
        self, output: DeclaredOutput, parent_fd: int, path: str, status: os.stat_result
    ) -> None:
        digest, is_executable = self._add_file(parent_fd, path, status)
        file = self.result.output_files.add(
            path=output.path, digest=digest.to_message(), is_executable=is_executable
        )
        if output.path in self._inline and digest.size_bytes <= self._inline_left:
            contents = self._blobs.held(digest)
            if contents is not None:
                file.contents = contents
                self._inline_left -= len(contents)

    def _collect_symlink(self, output: DeclaredOutput, parent_fd: int, name: str) -> None:
        """In the list of the spec's version that the client speaks, and for it the older, too."""
        target = _text(os.readlink(name, dir_fd=parent_fd), output.path)
        try:
            leads_to_directory = stat.S_ISDIR(os.stat(name, dir_fd=parent_fd).st_mode)
        except OSError:
            leads_to_directory = output.kind == "directory"  # dangling
        else:
            if output.kind == "file" and leads_to_directory:
                raise FailedPrecondition(f"output file {output.path!r} is a link to a directory")
            if output.kind == "directory" and not leads_to_directory:
                raise FailedPrecondition(f"output directory {output.path!r} is a link to a file")
        if output.kind == "any":
            self.result.output_symlinks.add(path=output.path, target=target)
        if leads_to_directory:
            self.result.output_directory_symlinks.add(path=output.path, target=target)
        else:
            self.result.output_file_symlinks.add(path=output.path, target=target)

    def _collect_directory(
        self, output: DeclaredOutput, parent_fd: int, parent: tuple[str, ...], name: str
    ) -> None:
        finished: dict[bytes, re_pb2.Directory] = {}
        path = "/".join(parent if name == "." else (*parent, name))
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
        root = self._directory(fd, path, DEEPEST_TREE, finished)
        del finished[root]
        tree = re_pb2.Tree(root=re_pb2.Directory.FromString(root))
        tree.children.extend(reversed(finished.values()))
        entry = self.result.output_directories.add(
            path=output.path,
            tree_digest=self._blobs.add(tree.SerializeToString(deterministic=True)).to_message(),
            is_topologically_sorted=True,
        )
        if self._format != re_pb2.Command.TREE_ONLY:
            for directory in (*finished, root):
                digest = self._blobs.add(directory)
            entry.root_directory_digest.CopyFrom(digest.to_message())

    def _directory(
        self, fd: int, path: str, depth: int, finished: dict[bytes, re_pb2.Directory]
    ) -> bytes:
        """The canonical bytes of the Directory at `fd`, which it closes (IN13).

        `finished` gets each distinct Directory once, children before all their parents; so in
        reverse it is the order that a Tree is to have (IN11).
        """
        directory = re_pb2.Directory()
        try:
            if depth == 0:
                raise ResourceExhausted(
                    f"output directories are more than {DEEPEST_TREE} deep at {path[:200]!r}"
                )
            with os.scandir(fd) as scan:
                entries = [(_text(entry.name, path).encode(), entry) for entry in scan]
            self._nodes_left -= len(entries)
            if self._nodes_left < 0:
                raise ResourceExhausted(f"the outputs are more than {MOST_NODES} files")
            for _, entry in sorted(entries, key=lambda pair: pair[0]):
                self._add_node(directory, entry, fd, path, depth, finished)
        finally:
            os.close(fd)
        data = directory.SerializeToString(deterministic=True)
        finished.setdefault(data, directory)
        return data

    def _add_node(
        self,
        directory: re_pb2.Directory,
        entry: "os.DirEntry[str]",
        fd: int,
        path: str,
        depth: int,
        finished: dict[bytes, re_pb2.Directory],
    ) -> None:
        name = entry.name
        if entry.is_symlink():
            target = _text(os.readlink(name, dir_fd=fd), f"{path}/{name}")
            directory.symlinks.add(name=name, target=target)
        elif entry.is_dir(follow_symlinks=False):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            below = os.open(name, flags, dir_fd=fd)
            data = self._directory(below, f"{path}/{name}", depth - 1, finished)
            directory.directories.add(
                name=name, digest=digest_of(data, self._blobs.function).to_message()
            )
        else:
            status = entry.stat(follow_symlinks=False)
            digest, is_executable = self._add_file(fd, f"{path}/{name}", status)
            directory.files.add(name=name, digest=digest.to_message(), is_executable=is_executable)

    def _add_file(self, parent_fd: int, path: str, status: os.stat_result) -> FileKey:
        path = path.lstrip("/")  # of the root itself it is empty
        if not stat.S_ISREG(status.st_mode):
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something unknown")
            raise FailedPrecondition(f"output {path!r} is {kind}, not a file")
        self._bytes_left -= status.st_size
        if self._bytes_left < 0:
            most = size_text(self._most_bytes)
            raise ResourceExhausted(f"the outputs are larger than their limit of {most}")
        fd = open_regular_file(path.rpartition("/")[2], parent_fd)
        try:
            open_again = partial(open_beneath, self._root, path)
            digest = self._blobs.add_open_file(fd, status.st_size, open_again)
        finally:
            os.close(fd)
        key = FileKey(digest, bool(status.st_mode & stat.S_IXUSR))
        self.files.append(LocalFile(self._root, path, key))
        return key


def _text(name: str, path: str) -> str:
    """A file name or symlink target as messages can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise FailedPrecondition(
            f"a name in or at output {path!a} is not UTF-8: {name!a}"
        ) from error
    return name
