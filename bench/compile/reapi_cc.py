"""Our own tool beside the others: a server with its executor, the user's daemon, and its stubs."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench.servers import ALL_CORES, RunningServer, memory_mib, process_tree, running_server
from reapi.clients.compile.stub_build import (
    build_python_stub,
    build_stub,
    is_native,
    this_installation,
)

from .findings import CompileError
from .processes import contained, processes, wait_for_end
from .tools import Tool, environment_in

_CALL_SECONDS = 60


class ReapiCC:
    """`tool` has the native stub, `python_tool` that of machines where none can be compiled.

    Both ask the same daemon, which begins with the first call.
    """

    def __init__(self, folder: Path, root: Path, server: RunningServer) -> None:
        self._server = server
        self._others = processes()
        self._cache = folder / "cache"
        environment = environment_in(
            folder / "home",
            REAPI_SERVER=server.target,
            REAPI_CC_CACHE_DIR=self._cache,
            REAPI_CC_ROOT=root,
            REAPI_CC_FALLBACK="never",
        )
        self.tool = Tool(
            "reapi-cc", [str(_native_stub(folder))], environment, [server.pid], self.forget
        )
        python_stub = folder / "python" / "reapi-cc"
        python_stub.parent.mkdir()
        build_python_stub(this_installation(), python_stub)
        self.python_tool = replace(
            self.tool, name="reapi-cc, Python stub", launcher=[str(python_stub)]
        )

    def daemon_mib(self) -> float:
        """The resident memory of the daemon and of what it has running."""
        return sum(memory_mib(pid).get("VmRSS", 0) for pid in self._daemon())

    def forget(self) -> None:
        """Ends the daemon, empties its cache, and starts it."""
        self._run("--stop")
        wait_for_end(self._daemon())
        shutil.rmtree(self._cache)
        self._run("g++", "--version")

    def _daemon(self) -> set[int]:
        return processes() - self._others - set(process_tree(self._server.pid))

    def _run(self, *arguments: str) -> None:
        subprocess.run(
            [*self.tool.launcher, *arguments],
            env=self.tool.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=_CALL_SECONDS,
        )


@contextlib.contextmanager
def reapi_cc(folder: Path, root: Path) -> Iterator[ReapiCC]:
    """For sources below `root`: elsewhere in a directory for temporary files calls stay local."""
    folder.mkdir(parents=True)
    with contained(), running_server(folder / "server", ALL_CORES) as server:
        yield ReapiCC(folder, root, server)


def _native_stub(folder: Path) -> Path:
    """Raises CompileError where there is none: its rows would be those of the other stub."""
    stub = build_stub(this_installation(), folder / "native")
    if not is_native(stub):
        raise CompileError("the stub could not be compiled")
    return stub.rename(stub.parent / "reapi-cc")
