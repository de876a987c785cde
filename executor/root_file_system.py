"""What is the root file system of a command: found out and checked on the tree of its input root.

Nothing here touches a disk. docs/root-modes.md is the manual.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reapi.core.errors import FailedPrecondition

from .cached_file import FileKey
from .input_tree import InputDirectory
from .staged_directory import OutputParents

_MOST_STEPS = 512
"""Names looked at for one path, which ends circles."""

_MOST_CANDIDATES = 100
_SHELLS = ("/bin/sh", "/usr/bin/sh")
_MOUNTED = ("proc", "dev")
_TEMPORARY = "tmp"


def is_root_file_system(
    root: InputDirectory, arguments: Sequence[str], environment: Mapping[str, str]
) -> bool:
    """Whether the command means `root` to be its file system.

    It does when its program is an executable file of the input root, at the absolute path that
    argv[0] is or makes with a directory of PATH, and the input root has a shell where every
    system has one. Neither alone says enough: trees of build tools have a `bin`, too.
    """
    if not any(_is_executable(root, shell) for shell in _SHELLS):
        return False
    return any(_is_executable(root, path) for path in _candidates(arguments[0], environment))


def find_file(root: InputDirectory, path: str) -> FileKey | None:
    """The file that an absolute `path` leads to for a process whose root is `root`.

    Symlinks are followed as they would be then: absolute ones begin at `root`, and `..` of it is
    itself. None for what is no file.
    """
    todo = _segments(path)
    way = [root]
    for _ in range(_MOST_STEPS):
        if not todo:
            return None
        segment = todo.pop()
        here = way[-1]
        if segment == "..":
            way = way[:-1] or [root]
        elif segment in here.directories:
            way.append(here.directories[segment])
        elif segment in here.symlinks:
            target = here.symlinks[segment]
            if target.startswith("/"):
                way = [root]
            todo += _segments(target)
        else:
            return here.files.get(segment) if not todo else None
    return None


@dataclass(frozen=True, slots=True)
class MountPoints:
    """Where file systems are mounted on an input root that is a root file system.

    `made` are the directories that it does not have itself; `hidden` are those of them that an
    output would show, had they not been removed before. Without `temporary` the command is to use
    what the input root has at /tmp.
    """

    made: tuple[str, ...]
    hidden: tuple[str, ...]
    temporary: bool

    def parents(self, parents: OutputParents) -> OutputParents:
        """`parents` and the mount points that are to be made."""
        return {**{name: {} for name in self.made}, **parents}


def mount_points(
    root: InputDirectory, outputs: Sequence[Sequence[str]], parents: OutputParents
) -> MountPoints:
    """The mount points of `root` for a command with these outputs.

    The command gets an own /tmp unless there is something in that of the input root, or an output
    is in it. Raises FailedPrecondition where something else is in the way.
    """
    for name in _MOUNTED:
        if name in root.files or name in root.symlinks:
            raise FailedPrecondition(
                f"the input root is the file system of this command, but its {name!r} is not a "
                "directory: a file system is to be mounted there"
            )
    in_root = root.directories.get(_TEMPORARY)
    is_used = (
        (in_root is not None and in_root.nodes > 0)
        or _TEMPORARY in parents
        or any(tuple(output[:1]) == (_TEMPORARY,) for output in outputs)
    )
    temporary = not is_used and _TEMPORARY not in root.files and _TEMPORARY not in root.symlinks
    needed = (*_MOUNTED, _TEMPORARY) if temporary else _MOUNTED
    made = tuple(name for name in needed if name not in root.directories and name not in parents)
    shown = {output[0] if output else None for output in outputs}
    hidden = made if None in shown else tuple(name for name in made if name in shown)
    return MountPoints(made, hidden, temporary)


def _candidates(name: str, environment: Mapping[str, str]) -> Iterator[str]:
    if name.startswith("/"):
        yield name
    elif "/" not in name:
        for directory in environment.get("PATH", "").split(":", _MOST_CANDIDATES):
            if directory.startswith("/"):
                yield f"{directory}/{name}"


def _is_executable(root: InputDirectory, path: str) -> bool:
    key = find_file(root, path)
    return key is not None and key.is_executable


def _segments(path: str) -> list[str]:
    """The last one first."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]
