"""Input roots that are `/` for a program: files at their own absolute paths, symlinks kept."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from reapi.clients.merkle import TreeEncoder, TreeNode
from reapi.clients.paths import DEEPEST
from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import InvalidArgument, NotFound

from .model import Family, View
from .toolchain import DigestOf, Toolchain

EXACT_VIEW = View("/", "/")
"""The compiler sees all files where they are."""

_MOST_HOPS = 40
"""Of one symlink to the next, as Linux has it."""

_MOUNTED = ("/dev", "/proc", "/sys")
_ONCE = re.compile(rb"^[ \t]*#[ \t]*(?:pragma[ \t]+once|import)\b", re.MULTILINE)
_MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class RootTree:
    """An input root as it is uploaded. `files` are where the blobs of its files lie here.

    `working_directory` and the keys of `outputs` are as a Command has them; their values are the
    outputs as they were given. `logical_directory` is the compiler's other name of the working
    directory, absolute, which may lead over symlinks.
    """

    root_digest: Digest
    blobs: Mapping[Digest, bytes]
    files: Mapping[Digest, str]
    working_directory: str
    logical_directory: str
    outputs: Mapping[str, str]


class RootTrees:
    """Builds input roots; what they have in common is encoded only once. For one thread at a time.

    `digest_of` is called with paths as they are given here.
    """

    def __init__(self, digest_of: DigestOf, function: DigestFunction) -> None:
        self._digest_of = digest_of
        self._encoder = TreeEncoder(function)
        self._once: dict[Digest, bool] = {}

    def build(
        self,
        files: Iterable[str],
        *,
        toolchain: Toolchain | None,
        working_directory: str,
        outputs: Iterable[str] = (),
        directories: Iterable[str] = (),
        made_up: Mapping[str, Digest] | None = None,
        view: View = EXACT_VIEW,
        includes: bool = True,
    ) -> RootTree:
        """The root with these files, the toolchain, and the directories that exist.

        Files that are `made_up` are not read; their directories are on disk, and what is at their
        paths, if anything is, is among the files or left out.

        Paths are absolute; those of outputs may be relative to the working directory. `..` and
        symlinks in them lead where they lead for the compiler. Raises NotFound for what is absent,
        or is where a view has nothing; InvalidArgument for what cannot be in a root, and with a
        toolchain that `includes` files, for inputs that only their inodes tell apart: such compiles
        are to be done here.
        """
        walk = _Walk(view)
        for path, digest in toolchain.files.items() if toolchain is not None else ():
            walk.add(view.there(path), path, digest)
        tools = frozenset(walk.sources)
        for path in files:
            try:
                walk.add(view.there(path), path, self._digest_of(path))
            except OSError as error:
                raise NotFound(f"{path} cannot be read: {error.strerror}") from error
        searched = toolchain.directories if toolchain is not None else ()
        for path in (*searched, *directories):
            if os.path.isdir(path):
                walk.directory(view.there(path))
        if toolchain is not None and includes:
            self._check_inodes(walk, tools, toolchain.family)
        for path, digest in (made_up or {}).items():
            walk.make_up(view.there(path), digest)
        logical_directory = view.there(working_directory)
        here = walk.directory(logical_directory)
        made = {
            os.path.relpath(
                walk.output(os.path.join(logical_directory, view.there(path))), here
            ): path
            for path in outputs
        }
        root_digest, blobs = self._encoder.encode(walk.nodes["/"])
        return RootTree(root_digest, blobs, walk.sources, here.lstrip("/"), logical_directory, made)

    def _check_inodes(self, walk: "_Walk", tools: frozenset[Digest], family: Family) -> None:
        """Executors may make one inode of files of the same content, and give all the same time.

        clang then takes them for one file, and gcc does so for headers that are to be included
        once: the second one would not be read, or get the name of the first.
        """
        for digest, path in walk.repeated:
            first = walk.sources[digest]
            if digest in tools or os.path.samefile(path, first):
                continue
            if family is Family.CLANG or self._is_included_once(digest, path):
                raise InvalidArgument(
                    f"{first} and {path} have the same content: {family} could not tell them apart "
                    "where they are made from that"
                )

    def _is_included_once(self, digest: Digest, path: str) -> bool:
        known = self._once.get(digest)
        if known is None:
            if len(self._once) >= _MOST_REMEMBERED:
                self._once.clear()
            known = self._once[digest] = _ONCE.search(Path(path).read_bytes()) is not None
        return known


class _Walk:
    """Goes paths as the compiler will, and puts what it meets into nodes.

    All paths are the compiler's; `nodes` are by those without symlinks. Of files with the same
    content `sources` has the first and `repeated` the others.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self._is_exact = view.root == view.seen_at
        self._way = f"{view.seen_at}/"
        self._resolved = {"/": "/", "": "/"}
        self.nodes = {"/": TreeNode()}
        self.sources: dict[Digest, str] = {}
        self.repeated: list[tuple[Digest, str]] = []

    def directory(self, path: str, hops: int = 0, depth: int = 0) -> str:
        """Where a directory really is; it is in the tree then."""
        real = self._resolved.get(path)
        if real is not None:
            return real
        if depth > DEEPEST or hops > _MOST_HOPS:
            raise InvalidArgument(f"{path[:255]} has too many directories or symlinks on its way")
        parent, _, name = path.rpartition("/")
        at = self.directory(parent, hops, depth + 1)
        if name in ("", "."):
            real = at
        elif name == "..":
            real = at.rpartition("/")[0] or "/"
        else:
            real = self._enter(at, name, hops, depth)
        self._resolved[path] = real
        return real

    def _enter(self, at: str, name: str, hops: int, depth: int) -> str:
        place = f"{at}/{name}" if at != "/" else f"/{name}"
        if place in self.nodes:
            return place
        if self._is_exact or not self._way.startswith(f"{place}/") or place == self._view.seen_at:
            mode = self._mode(place)
            if stat.S_ISLNK(mode):
                target = self._follow(at, name, place)
                return self.directory(os.path.join(at, target), hops + 1, depth + 1)
            if not stat.S_ISDIR(mode):
                raise NotFound(f"{place} is not a directory")
        self.nodes[place] = self._node(at, name).directories.setdefault(name, TreeNode())
        return place

    def add(self, path: str, source: str, digest: Digest, hops: int = 0) -> None:
        """Puts a file where `path` leads; `source` is where we read it."""
        parent, _, name = path.rpartition("/")
        at = self.directory(parent)
        node = self.nodes[at]
        if name in node.files:
            return
        place = f"{at}/{name}" if at != "/" else f"/{name}"
        mode = self._mode(place)
        if stat.S_ISREG(mode):
            self._node(at, name).files[name] = digest, bool(mode & stat.S_IXUSR)
            if self.sources.setdefault(digest, source) != source:
                self.repeated.append((digest, source))
        elif stat.S_ISLNK(mode) and hops < _MOST_HOPS:
            target = self._follow(at, name, place)
            self.add(os.path.join(at, target), source, digest, hops + 1)
        elif not (stat.S_ISCHR(mode) and at == "/dev"):  # there is a /dev, and devices are no blobs
            raise InvalidArgument(f"{place} is no regular file")

    def make_up(self, path: str, digest: Digest) -> None:
        """Puts a file where nothing else is."""
        parent, _, name = path.rpartition("/")
        node = self._node(self.directory(parent), name)
        if name not in node.files and name not in node.symlinks:
            node.files[name] = digest, False

    def output(self, path: str) -> str:
        """Where a file really is that will be made."""
        parent, _, name = path.rpartition("/")
        at = self.directory(parent)
        place = f"{at}/{name}" if at != "/" else f"/{name}"
        if place.startswith(_MOUNTED) or name in ("", ".", ".."):
            raise InvalidArgument(f"{place} cannot be made by an action")
        try:
            mode = self._mode(place)
        except NotFound:
            return place
        if not stat.S_ISREG(mode):
            raise InvalidArgument(f"{place} is there and no regular file")
        return place

    def _node(self, at: str, name: str) -> TreeNode:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{at}/{name!a} has a name that is not UTF-8") from error
        return self.nodes[at]

    def _mode(self, place: str) -> int:
        try:
            return os.lstat(place if self._is_exact else self._view.here(place)).st_mode
        except (OSError, ValueError) as error:
            raise NotFound(f"{place} is not there: {error}") from error

    def _follow(self, at: str, name: str, place: str) -> str:
        """Keeps a symlink; returns its target, which leads the compiler to the same file as us."""
        source = place if self._is_exact else self._view.here(place)
        target = os.readlink(source)
        if not self._is_exact:
            absolute = os.path.normpath(os.path.join(os.path.dirname(source), target))
            moved = self._view.there(absolute)
            is_moved = moved != absolute
            if target.startswith("/") or is_moved != (source != place):
                target = moved
        self._node(at, name).symlinks[name] = target
        return target
