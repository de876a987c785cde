"""The parts of the host that commands may see as their root file system: tools, and little of /etc.

Nothing of /sys, /run, /var, /home and /root is among them, nor what names the host.
"""

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from reapi.core.errors import FailedPrecondition

from .sandbox import USER_ID, Bind, HostTools

_TOP_LEVEL = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")

_ETC_FILES = (
    "debian_version",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d/*.conf",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "protocols",
    "services",
    "ssl/openssl.cnf",
    "timezone",
)
_ETC_DIRECTORIES = ("alternatives", "fonts", "java*", "ssl/certs")
"""What tools read and what says nothing of this machine or its users."""

_OWN_FILES = {
    "passwd": f"root:x:0:0:root:/:/bin/sh\nbuild:x:{USER_ID}:{USER_ID}::/tmp:/bin/sh\n"
    "nobody:x:65534:65534:nobody:/:/bin/sh\n",
    "group": f"root:x:0:\nbuild:x:{USER_ID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "resolv.conf": "",
}
"""The same on every worker. The last two are covered by the host's when the network is on."""


def find_host_tools(etc: Path, more_paths: Sequence[str]) -> HostTools:
    """The host's tools and `more_paths`, with an /etc that is made at `etc`, which must not exist.

    Blocks. Small files are copied, for each mount costs every action a seventh of a millisecond;
    directories are not, for making their files would take this as long as a thousand actions.
    Raises FailedPrecondition when one of `more_paths` is absent.
    """
    if absent := [path for path in more_paths if not os.path.exists(path)]:
        raise FailedPrecondition(f"executor.sandbox_paths: {', '.join(absent)} does not exist")
    binds, links = [Bind(str(etc), "/etc"), *_make_etc(etc)], []
    for path in _TOP_LEVEL:
        if os.path.islink(path):
            links.append((path, os.readlink(path)))
        elif os.path.isdir(path):
            binds.append(Bind(path, path))
    binds += [Bind(path, path) for path in more_paths]
    return HostTools(tuple(binds), tuple(links))


def _make_etc(etc: Path) -> list[Bind]:
    """What is to be mounted in the directory that this makes."""
    _make_directory(etc)
    for pattern in _ETC_FILES:
        for source in Path("/etc").glob(pattern):
            target = etc / source.relative_to("/etc")
            _make_directory(target.parent)
            with suppress(PermissionError):  # what the executor may not read, actions may not
                shutil.copy2(source, target, follow_symlinks=False)
    for name, text in _OWN_FILES.items():
        (etc / name).write_text(text)
        (etc / name).chmod(0o644)
    binds = []
    for pattern in _ETC_DIRECTORIES:
        for path in filter(Path.is_dir, Path("/etc").glob(pattern)):
            target = etc / path.relative_to("/etc")
            _make_directory(target.parent)
            _make_directory(target)
            binds.append(Bind(str(path), str(path)))
    return binds


def _make_directory(path: Path) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
