"""`make demo`: builds examples/hello-cpp plainly, and by a server of its own, cold and warm.

Everything it starts ends with it, also on Ctrl-C; only build/demo stays, with the built program.
"""

import json
import os
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent  # reapi-server and reapi-cli are beside python
PROJECT = ROOT / "build" / "demo"
OUT = PROJECT / "out"
COMMANDS = [
    entry["command"]
    for entry in json.loads((ROOT / "examples" / "hello-cpp" / "compile_commands.json").read_text())
]
# The user's own settings of server and client are for other servers than ours.
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("REAPI_")}
ENVIRONMENT["PATH"] = f"{PROGRAMS}:{os.environ['PATH']}"

EXPLANATION = """\
The server listens on {grpc}; gRPC is carried by {transport}. Its only executor
is this machine, so what is gained here is gained by caches.
The {count} compiles of examples/hello-cpp are done
  plain            by g++ alone, on all processors
  cold             by `reapi-cli compile`, all caches empty: g++ itself is sent, too
  another machine  the same with an empty cache here, the server's being full
  warm             the same once more
"""

START_DEADLINE_SECONDS = 30
STOP_DEADLINE_SECONDS = 10


class DemoError(Exception):
    """Why the demo cannot go on, in words for the person who typed `make demo`."""


@dataclass(frozen=True)
class Build:
    """What one build of all objects took, and how many of them came from a cache or were made."""

    name: str
    seconds: float
    hits: int
    compiled: int


@contextmanager
def running(
    command: list[str | Path],
    log: Path,
    environment: Mapping[str, str] = ENVIRONMENT,
    directory: Path = ROOT,
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
            cwd=directory,
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


def ready_words(server: subprocess.Popen[bytes]) -> dict[str, str]:
    """Waits for the server's one line `ready grpc=HOST:PORT http=HOST:PORT transport=NAME`."""
    assert server.stdout is not None
    readable, _, _ = select.select([server.stdout], [], [], START_DEADLINE_SECONDS)
    line = server.stdout.readline().decode() if readable else ""
    words = dict(word.split("=", 1) for word in line.split() if "=" in word)
    if not line.startswith("ready ") or "grpc" not in words:
        raise DemoError("the server did not start")
    return words


def build_plainly() -> Build:
    """Runs the commands of the database as make would, as many at once as there are processors."""
    started = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
        done = list(threads.map(compile_here, COMMANDS))
    if any(done):
        raise DemoError("the example does not compile here: is g++ new enough for C++17?")
    return Build("plain", time.monotonic() - started, 0, len(done))


def compile_here(command: str) -> int:
    """The exit code."""
    return subprocess.run(shlex.split(command), cwd=PROJECT, env=ENVIRONMENT).returncode


def build(name: str, environment: Mapping[str, str], log: Path) -> Build:
    """Runs `reapi-cli compile` once; it says what it did."""
    started = time.monotonic()
    code, said = reapi_cli(["compile", "-p", PROJECT, "--json"], environment, log)
    seconds = time.monotonic() - started
    summary = json.loads(said) if said else {}
    if code != 0 or summary["hits"] + summary["compiled"] != len(COMMANDS):
        raise DemoError("the build failed, or not all of it was done by the server")
    return Build(name, seconds, summary["hits"], summary["compiled"])


def reapi_cli(
    arguments: list[str | Path], environment: Mapping[str, str], log: Path
) -> tuple[int, str]:
    """Exit code and standard output of a command that runs in the project."""
    with running([PROGRAMS / "reapi-cli", *arguments], log, environment, PROJECT) as process:
        assert process.stdout is not None
        said = process.stdout.read().decode()
        return process.wait(), said


def take_objects() -> dict[str, bytes]:
    """The objects that are there; they are no more then."""
    objects = {path.name: path.read_bytes() for path in sorted(OUT.glob("*.o"))}
    for name in objects:
        (OUT / name).unlink()
    return objects


def builds(environment: Mapping[str, str], log: Path) -> Iterator[Build]:
    """All builds, one after the other; each begins without an object, and ends with the same."""
    yield build_plainly()
    plain = take_objects()
    cache = environment["REAPI_CC_CACHE_DIR"]
    for name, is_elsewhere in (("cold", False), ("another machine", True), ("warm", False)):
        if is_elsewhere:
            shutil.rmtree(cache)  # as on the machine of somebody else
        done = build(name, environment, log)
        if (done.compiled, done.hits)[:: 1 if name == "cold" else -1] != (len(COMMANDS), 0):
            raise DemoError("the cold build should have had no hit, and the warm ones only hits")
        made = take_objects()
        if made != plain:
            raise DemoError("the objects are not those of the plain build")
        yield done
    for name, data in plain.items():
        (OUT / name).write_bytes(data)


def link(program: str) -> Path:
    """Links a program of the example, here."""
    library = (OUT / f"{name}.o" for name in ("evaluator", "format", "parser", "token"))
    target = OUT / program
    command = ["g++", OUT / f"{program}.o", *library, "-o", target]
    if subprocess.run(command, env=ENVIRONMENT).returncode:
        raise DemoError("the link failed")
    return target


def show_program() -> None:
    """What the program that was built says, here."""
    program = link("calc")
    said = subprocess.run(
        [program, "2 ^ 3 ^ 2", "max(1, 7, 3) / 2"], check=True, capture_output=True, text=True
    )
    print(f"\nLinked, the program is {program.relative_to(ROOT)}; it says:")
    print("".join(f"  {line}\n" for line in said.stdout.splitlines()), end="")


def show_test(environment: Mapping[str, str], log: Path) -> None:
    """Runs the example's test remotely, as `meson test --wrapper` would, and once more."""
    test = link("calc_test")
    wrapped: list[str | Path] = ["run", "--json", "--wrapper", "--output", "out/report.txt", "--"]
    print("Its test, run remotely with its libraries (reapi-cli run --wrapper):")
    for _ in range(2):
        started = time.monotonic()
        code, said = reapi_cli(
            [*wrapped, test, "tests/cases.txt", "out/report.txt"], environment, log
        )
        if code != 0:
            raise DemoError(f"the test failed: {said}")
        cases = (OUT / "report.txt").read_text().splitlines()
        source = "from the cache" if json.loads(said)["cached"] else "by an executor"
        print(f"  {time.monotonic() - started:.2f} s, {source}: all {len(cases)} cases passed")


def demo(directory: Path) -> None:
    """All builds against a server of their own, with all its state in `directory`."""
    shutil.rmtree(PROJECT, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "hello-cpp", PROJECT, ignore=shutil.ignore_patterns("out"))
    OUT.mkdir()
    log = directory / "log"
    serve: list[str | Path] = [PROGRAMS / "reapi-server", "serve", "--data-dir", directory / "data"]
    serve += ["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]
    try:
        with running(serve, log) as process:
            words = ready_words(process)
            server = words["grpc"]
            environment = ENVIRONMENT | {
                "REAPI_SERVER": server,
                "REAPI_CC_ROOT": str(PROJECT),
                "REAPI_CC_CACHE_DIR": str(directory / "cc"),
            }
            print(EXPLANATION.format(**words, count=len(COMMANDS)))
            print(f"{'':17}{'time':>9}{'from a cache':>15}{'compiled':>11}")
            for done in builds(environment, log):
                print(f"{done.name:17}{done.seconds:>7.2f} s{done.hits:>15}{done.compiled:>11}")
            print("\nAll four made the same objects, byte for byte.")
            show_program()
            show_test(environment, log)
    except DemoError:
        if log.exists():
            print(log.read_text(errors="replace"), file=sys.stderr)
        raise
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
