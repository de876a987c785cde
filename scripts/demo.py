"""`make demo`: builds examples/hello-cpp twice on an embedded server and shows what is cached.

Everything it starts ends with it, also on Ctrl-C; only build/demo stays, with the built program.
"""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent  # reapi-server and reapi-cli are beside python
PROJECT = ROOT / "build" / "demo"
# The user's own settings of server and client are for other servers than ours.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
ENVIRONMENT["PATH"] = f"{PROGRAMS}:{os.environ['PATH']}"

START_DEADLINE_SECONDS = 30
STOP_DEADLINE_SECONDS = 10


class DemoError(Exception):
    """Why the demo cannot go on, in words for the person who typed `make demo`."""


@dataclass(frozen=True)
class Build:
    """What one run of the example's build.sh took and did."""

    seconds: float
    actions: int
    hits: int

    @property
    def misses(self) -> int:
        return self.actions - self.hits


@contextmanager
def running(
    command: list[str | Path], log: Path, environment: Mapping[str, str] = ENVIRONMENT
) -> Iterator[subprocess.Popen[bytes]]:
    """A child in a session of its own; however the block is left, the whole session ends.

    Its standard output is a pipe, its standard error goes to the end of `log`.
    """
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_DEADLINE_SECONDS)
        with suppress(ProcessLookupError):  # the usual case: nothing is left
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def address_of(server: subprocess.Popen[bytes]) -> str:
    """Waits for the server's one line `ready grpc=HOST:PORT http=HOST:PORT`."""
    assert server.stdout is not None
    readable, _, _ = select.select([server.stdout], [], [], START_DEADLINE_SECONDS)
    line = server.stdout.readline().decode() if readable else ""
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if not line.startswith("ready ") or "grpc" not in words:
        raise DemoError("the server did not start")
    return words["grpc"]


def build(server: str, reports: Path, log: Path) -> Build:
    """Runs build.sh once and counts what reapi-cli reported of each step."""
    environment = ENVIRONMENT | {"REAPI_SERVER": server}
    started = time.monotonic()
    with running([PROJECT / "build.sh", reports], log, environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line.decode(), end="", flush=True)
        if process.wait() != 0:
            raise DemoError("the build failed")
    seconds = time.monotonic() - started
    steps = [json.loads(report.read_text()) for report in sorted(reports.glob("*.json"))]
    return Build(seconds, len(steps), sum(step["cached"] for step in steps))


def show(first: Build, again: Build) -> None:
    """The table, and the program that was built, run here."""
    print(f"\n{'':8}{'time':>9}{'actions':>9}{'hits':>6}{'misses':>8}")
    for name, one in (("first", first), ("again", again)):
        print(f"{name:8}{one.seconds:>7.2f} s{one.actions:>9}{one.hits:>6}{one.misses:>8}")
    program = PROJECT / "out" / "calc"
    said = subprocess.run(
        [program, "2 ^ 3 ^ 2", "max(1, 7, 3) / 2"], check=True, capture_output=True, text=True
    )
    print(f"\nThe program is {program.relative_to(ROOT)}; it says:")
    print("".join(f"  {line}\n" for line in said.stdout.splitlines()), end="")
    cases = (PROJECT / "out" / "report.txt").read_text().splitlines()
    print(f"Its test, run remotely, passed all of its {len(cases)} cases.")


def demo(directory: Path) -> None:
    """Both builds against a server of their own, with all its state in `directory`."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "hello-cpp", PROJECT, ignore=shutil.ignore_patterns("out"))
    log = directory / "log"
    serve: list[str | Path] = [PROGRAMS / "reapi-server", "serve", "--data-dir", directory / "data"]
    serve += ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
    try:
        with running(serve, log) as process:
            server = address_of(process)
            print(f"The server listens on {server}.")
            print("Building examples/hello-cpp remotely; nothing is cached yet:")
            first = build(server, directory / "first", log)
            shutil.rmtree(PROJECT / "out")
            print("Building it again from a clean tree:")
            again = build(server, directory / "again", log)
            show(first, again)
    except DemoError:
        print(log.read_text(errors="replace"), file=sys.stderr)
        raise
    if first.hits or again.misses:
        raise DemoError("the first build should have had no hit and the second no miss")
    print("The server is stopped and its data deleted.")


def main() -> int:
    """Exit code 0, 1 for a failure that was explained, 130 for Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="reapi-demo-") as directory:
            # A server of root's runs actions under other users, who have to get at their inputs.
            Path(directory).chmod(0o711)
            demo(Path(directory))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
