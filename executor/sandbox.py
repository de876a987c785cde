"""What one command may see, and how bubblewrap is told so. Pure: nothing here touches the system.

Every action has a bubblewrap of its own, docs/decisions/0010-sandbox.md says why.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from reapi.core.errors import InvalidArgument

from .slot_process import SECCOMP_FD, STATUS_FD

INPUT_ROOT = "/build"
"""Where the input root appears: the same in every slot of every worker, so that no result depends
on where it was made."""

TEMPORARY = "/tmp"
USER_ID = 1000
"""Uid and gid that a command sees as its own; the same everywhere, too."""

_SHARED_MEMORY_BYTES = 256 << 20
_NAMESPACES = ("user", "pid", "ipc", "uts", "cgroup")
_ENV = "/usr/bin/env"
_SHELL = "/bin/sh"
_MOST_ARGUMENTS = 8000
"""bubblewrap refuses command lines of more than 9,000 arguments, its own included."""

_LONGEST_ARGUMENT_BYTES = 100_000
"""Linux takes 128 KiB."""


@dataclass(frozen=True, slots=True)
class Bind:
    """`source`, a path of the host, appears at `target`."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class HostTools:
    """A root file system that consists of parts of the host's, all read-only.

    `links` are symlinks of the root: their name and where they lead, as /bin to usr/bin.
    """

    binds: tuple[Bind, ...]
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """A root file system that is a directory of the host.

    In a read-only one there must be directories for all that is mounted below it: dev, proc, tmp,
    and the targets of binds. None of these may be a symlink, nor lie behind one: bubblewrap would
    follow it before the directory is the root.
    """

    path: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Enclosure:
    """All that one command may see. Paths on the left of a bind are the host's.

    With `is_root` the command runs under root's uid, though without any of its capabilities.
    `input_root` appears at `input_root_at`, writable; when that is "/", `root` is the Directory of
    the input root. `temporary` appears at /tmp, `read_only` and `writable` last, in this order.
    Without `temporary` /tmp is what `root` has there. The command sees itself as `user_id`. With
    the `network` it gets the host's RESOLVER in HostTools; in a Directory that is left to binds.
    """

    root: HostTools | Directory
    input_root: str
    temporary: str | None
    input_root_at: str = INPUT_ROOT
    network: bool = False
    is_root: bool = False
    read_only: tuple[Bind, ...] = ()
    writable: tuple[Bind, ...] = ()
    user_id: int = USER_ID

    def working_directory(self, segments: Sequence[str]) -> str:
        """The path, as the command sees it, of a directory of the input root."""
        return "/".join((self.input_root_at.rstrip("/"), *segments)) or "/"


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A bubblewrap that works here, and the host's tools for those who want them."""

    program: str
    host_tools: HostTools


RESOLVER = (Bind("/etc/resolv.conf", "/etc/resolv.conf"), Bind("/etc/hosts", "/etc/hosts"))
"""What the network is of no use without."""


def enclosed(
    bubblewrap: str,
    enclosure: Enclosure,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: str,
) -> list[str]:
    """The command line that runs a command in an enclosure, from `directory` on as it sees it.

    It is to be run without an environment: what the loader reads there acts on bubblewrap itself,
    which is not enclosed yet. STATUS_FD and SECCOMP_FD must be open in it (slot_process.py).
    """
    command, variables = _entry(arguments, environment, directory)
    line = [bubblewrap, *_mounts(enclosure), "--chdir", directory]
    for name, value in variables.items():
        line += ("--setenv", name, value)
    return [*line, "--", *command]


def _mounts(enclosure: Enclosure) -> Iterator[str]:
    yield from (f"--unshare-{kind}" for kind in _NAMESPACES)
    if not enclosure.network:
        yield "--unshare-net"
    user = str(enclosure.user_id)
    yield from ("--uid", user, "--gid", user, "--hostname", "localhost")
    yield from ("--die-with-parent", "--new-session", "--cap-drop", "ALL")
    yield from ("--json-status-fd", str(STATUS_FD), "--seccomp", str(SECCOMP_FD))
    root = enclosure.root
    if isinstance(root, Directory):
        yield from ("--ro-bind" if root.read_only else "--bind", root.path, "/")
    yield from ("--proc", "/proc", "--dev", "/dev")
    if enclosure.is_root:
        # Kernel parameters ask for the uid, not for a capability.
        yield from ("--ro-bind", "/proc/sys", "/proc/sys")
        yield from ("--ro-bind-try", "/proc/sysrq-trigger", "/proc/sysrq-trigger")
    yield from ("--size", str(_SHARED_MEMORY_BYTES), "--tmpfs", "/dev/shm")
    if enclosure.temporary is not None:
        yield from ("--bind", enclosure.temporary, TEMPORARY)
    if isinstance(root, HostTools):
        yield from _binds("--ro-bind", root.binds)
        for name, target in root.links:
            yield from ("--symlink", target, name)
        if enclosure.network:
            yield from _binds("--ro-bind-try", RESOLVER)
    if enclosure.input_root_at != "/":
        yield from ("--bind", enclosure.input_root, enclosure.input_root_at)
    yield from _binds("--ro-bind", enclosure.read_only)
    yield from _binds("--bind", enclosure.writable)
    # Both are file systems in memory, which no limit of ours would count.
    yield from ("--remount-ro", "/dev")
    if isinstance(root, HostTools):
        yield from ("--remount-ro", "/")


def _binds(option: str, binds: Sequence[Bind]) -> Iterator[str]:
    for bind in binds:
        yield from (option, bind.source, bind.target)


def _entry(
    arguments: Sequence[str], environment: Mapping[str, str], directory: str
) -> tuple[list[str], Mapping[str, str]]:
    """The command that bubblewrap is to execute, and the variables that it is to set.

    It takes no more than some thousand arguments and sets PWD to the working directory, whatever
    the command wants; what it cannot do is left to env and the shell of the root file system.
    """
    fits = len(arguments) + 3 * len(environment) <= _MOST_ARGUMENTS
    if fits and environment.get("PWD", directory) == directory:
        return list(arguments), environment
    if "=" in arguments[0]:
        raise InvalidArgument(
            f"{arguments[0][:80]!r} cannot be run with its own PWD or so many arguments: "
            "the name of a command must not hold '='"
        )
    if fits:
        return [_ENV, f"PWD={environment['PWD']}", *arguments], environment
    variables = [f"{name}={value}" for name, value in environment.items()]
    parts = _joined(quote(text) for text in (_ENV, "-i", *variables, *arguments))
    script = "".join(f"${{{number}}}" for number in range(1, len(parts) + 1))
    return [_SHELL, "-c", f'eval "exec {script}"', _SHELL, *parts], {}


def _joined(words: Iterator[str]) -> list[str]:
    """The words behind a space each, in as few texts as the system's limits allow."""
    parts: list[str] = []
    room = 0
    for word in words:
        size = len(word.encode()) + 1
        if size > room:
            parts.append("")
            room = _LONGEST_ARGUMENT_BYTES
        parts[-1] += " " + word
        room -= size
    return parts
