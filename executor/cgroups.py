"""Makes the cgroups of slots, and removes those of a dead life.

They are made beneath the executor's own one. Their names hold the identity of its work area, which
one executor has at a time: so what bears the name at the start is of a dead life.
"""

from pathlib import Path

from .cgroup_members import kill_members, remove_cgroup
from .cgroup_places import Place, find_places, prepare
from .limits import CPU, CPU_TIME, MEMORY, PROCESSES, Limits
from .slot_cgroup import SlotCgroup

_CONTROLLERS = (MEMORY, PROCESSES, CPU, CPU_TIME)
_STAND_IN = {
    MEMORY: "memory of each process on its own, by RLIMIT_DATA, and not what an action books",
    PROCESSES: "processes by RLIMIT_NPROC where actions have users of their own",
    CPU: "cpu not at all",
}
"""What there is in the place of a controller that is absent."""


class Cgroups:
    """Makes the cgroups of an executor's slots, as far as this process may.

    `work_area` is the directory that one executor has for itself at a time. `controllers` are those
    that are in force; `absent` says of the others why not.
    """

    def __init__(self, work_area: Path, limits: Limits) -> None:
        self._prefix = _prefix_of(work_area)
        self._limits = limits
        self.absent: dict[str, str] = {}
        self.places: dict[str, Place] = {}
        places = find_places(_CONTROLLERS)
        for controller in _CONTROLLERS:
            if controller not in places:
                self.absent[controller] = "this kernel has no such cgroups here"
                continue
            try:
                self._try(controller, places[controller])
            except OSError as error:
                self.absent[controller] = str(error)
        self.absent.pop(CPU_TIME, None)  # which limits nothing

    def _try(self, controller: str, place: Place) -> None:
        """Raises OSError when no cgroup can be made there."""
        prepare({controller: place})
        probe = place.directory / f"{self._prefix}probe"
        probe.mkdir()
        probe.rmdir()
        self.places[controller] = place

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset(self.places)

    def slot(self, name: str) -> SlotCgroup | None:
        """The cgroup of a slot of that name; None where there can be none."""
        if not self.places:
            return None
        return SlotCgroup(f"{self._prefix}{name}", self.places, self._limits)

    def report(self) -> str:
        """What is in force and by which means, for the log."""
        parts = [
            f"{controller} by cgroup v{place.version} beneath {place.directory}"
            for controller, place in self.places.items()
            if controller != CPU_TIME
        ]
        parts += [
            f"{_STAND_IN[controller]} ({reason})" for controller, reason in self.absent.items()
        ]
        return "; ".join(parts)


def remove_stale(work_area: Path) -> None:
    """Kills what a dead executor of that work area left, and removes its cgroups.

    For whoever has the work area for itself: what bears its name is of a former life.
    """
    prefix = _prefix_of(work_area)
    for parent in {place.directory for place in find_places(_CONTROLLERS).values()}:
        for directory in parent.glob(f"{prefix}*"):
            kill_members(directory)
            remove_cgroup(directory)


def _prefix_of(work_area: Path) -> str:
    status = work_area.stat()
    return f"reapi-{status.st_dev:x}-{status.st_ino:x}-"
