"""Where this process may make cgroups: found in /proc, for each controller on its own.

Both versions are known, and machines that mix them. A place is the cgroup that the process is in.
Under version 2 no cgroup has processes and, for its children, controllers at once; so what is in
the process's own one moves one level down, into `reapi-processes`, as systemd asks of a service
with `Delegate=yes`.
"""

import errno
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from .slot_kernel import descendants

_LEAF = "reapi-processes"


class Place(NamedTuple):
    """A directory in which cgroups with a controller may be made, if the kernel allows it."""

    version: int
    directory: Path


class _Mount(NamedTuple):
    root: str
    directory: str
    controllers: frozenset[str]


def find_places(
    controllers: Collection[str], process: Path = Path("/proc/self")
) -> dict[str, Place]:
    """The places of those `controllers` that the kernel has and that are mounted."""
    own = _own_cgroups(process)
    mounts = _mounts(process)
    found: dict[str, Place] = {}
    for controller in controllers:
        for version, names in ((1, {controller}), (2, frozenset[str]())):
            path = own.get(controller if version == 1 else "")
            directory = _directory(path, names, mounts)
            if directory is None:
                continue
            if version == 2:
                directory = directory.parent if directory.name == _LEAF else directory
                if controller not in _words(directory / "cgroup.controllers"):
                    continue
            found[controller] = Place(version, directory)
            break
    return found


def prepare(places: Mapping[str, Place]) -> None:
    """Lets children of the places have the controllers. Raises OSError when that is forbidden."""
    wanted: dict[Path, list[str]] = {}
    for controller, place in places.items():
        if place.version == 2:
            wanted.setdefault(place.directory, []).append(controller)
    for directory, controllers in wanted.items():
        absent = [one for one in controllers if one not in _words(_control(directory))]
        if not absent:
            continue
        try:
            _enable(directory, absent)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _move_down(directory)
            _enable(directory, absent)


def _enable(directory: Path, controllers: Collection[str]) -> None:
    _control(directory).write_text(" ".join(f"+{name}" for name in controllers))


def _move_down(directory: Path) -> None:
    """Moves the processes of a cgroup one level down, if all are of this server."""
    pids = [int(pid) for pid in _words(directory / "cgroup.procs")]
    first = os.getppid() if os.getppid() in pids else os.getpid()
    foreign = set(pids) - {first, *descendants(first)}
    if foreign:
        raise PermissionError(
            errno.EPERM,
            f"{len(foreign)} processes of others are in the same cgroup",
            str(directory),
        )
    leaf = directory / _LEAF
    leaf.mkdir(exist_ok=True)
    for pid in pids:
        (leaf / "cgroup.procs").write_text(str(pid))


def _control(directory: Path) -> Path:
    return directory / "cgroup.subtree_control"


def _own_cgroups(process: Path) -> dict[str, str]:
    """The path of this process's cgroup by controller; that of version 2 under the empty name."""
    found = {}
    for line in (process / "cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = path
    return found


def _mounts(process: Path) -> list[_Mount]:
    """See proc_pid_mountinfo(5); version 2 has no controllers here."""
    found = []
    for line in (process / "mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        _, _, _, root, directory = fields.split(" ")[:5]
        if kind == "cgroup":
            found.append(_Mount(root, directory, frozenset(options.split(","))))
        elif kind == "cgroup2":
            found.append(_Mount(root, directory, frozenset()))
    return found


def _directory(path: str | None, names: Collection[str], mounts: list[_Mount]) -> Path | None:
    """The directory of the cgroup `path`, if some mount shows it."""
    for mount in mounts:
        is_wanted = mount.controllers.issuperset(names) if names else not mount.controllers
        if path is None or not is_wanted:
            continue
        below = os.path.relpath(path, mount.root)
        if not below.startswith(".."):
            return Path(mount.directory, below)
    return None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except FileNotFoundError:
        return []
