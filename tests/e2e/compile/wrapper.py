"""`reapi-cc` with a daemon and a cache of its own, which the user's never meet."""

import json
import os
import select
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from reapi.clients.compile.outcome import OutcomeKind
from reapi.clients.compile.stub_build import build_stub, place_stub, this_installation

DEADLINE_SECONDS = 60


class Wrapper:
    """The program in a directory of its own, which leads the PATH of `environment`.

    `root` is the checkout: without it whatever is below /tmp stays local. Leaving the context ends
    the daemon.
    """

    def __init__(self, home: Path, root: Path, server: str) -> None:
        self._cache = home / "cache"
        self._program = home / "bin" / "reapi-cc"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
        self.environment: Mapping[str, str] = {
            **kept,
            "PATH": f"{self._program.parent}:{kept['PATH']}",
            "REAPI_CC_CACHE_DIR": str(self._cache),
            "REAPI_CC_ROOT": str(root),
            "REAPI_SERVER": server,
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_RUNTIME_DIR": str(home / "run"),
        }

    def __enter__(self) -> Self:
        self._program.parent.mkdir(parents=True)
        stub = build_stub(this_installation(), self._cache)
        place_stub(stub, self._program)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def forget(self) -> None:
        """Removes all that is kept here of builds: the service has what is left of them."""
        self._stop()
        shutil.rmtree(self._cache)

    def calls(self) -> Mapping[OutcomeKind, int]:
        """How many compiles were what since the last call of this; local calls do not count."""
        said = json.loads(self._run("--stats", "--json", "--zero-stats"))
        return {
            OutcomeKind(kind): int(count)
            for kind, count in said["calls"].items()
            if kind != OutcomeKind.LOCAL and count
        }

    def _stop(self) -> None:
        """Waits for the end of the daemon, which writes until then."""
        daemon = json.loads(self._run("--stats", "--json"))["daemon"]
        if daemon is None:
            return
        pidfd = os.pidfd_open(daemon["pid"])
        try:
            self._run("--stop")
            ended, _, _ = select.select([pidfd], [], [], DEADLINE_SECONDS)
            assert ended, "the daemon does not end"
        finally:
            os.close(pidfd)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._program, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        print(f"$ reapi-cc {' '.join(arguments)}\n{done.stdout}{done.stderr}")
        done.check_returncode()
        return done.stdout
