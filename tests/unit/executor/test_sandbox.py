"""Commands in bubblewrap: where they are, what they start with, and how their ends are told."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from reapi.core.errors import InvalidArgument, ResourceExhausted
from reapi.executor.action_uid import ActionUid
from reapi.executor.runner import Runner, RunOutcome
from reapi.executor.sandbox import (
    Bind,
    Bubblewrap,
    Directory,
    Enclosure,
    HostTools,
    enclosed,
)
from reapi.executor.sandbox_choice import choose_sandbox
from reapi.executor.slot_kernel import descendants
from tests.unit.executor.harness import (
    needs_bubblewrap,
    needs_root,
    open_harness,
    processes_of,
)

pytestmark = needs_bubblewrap

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


class Bed:
    """A runner with an enclosure, whose input root and /tmp are directories of the test."""

    def __init__(self, runner: Runner, enclosure: Enclosure) -> None:
        self.runner = runner
        self.enclosure = enclosure

    async def run(self, *arguments: str, timeout_seconds: float = 60, **env: str) -> RunOutcome:
        environment = ENVIRONMENT | env
        return await self.runner.run(
            arguments, environment, "/build", timeout_seconds, self.enclosure
        )

    async def sh(self, script: str, timeout_seconds: float = 60) -> RunOutcome:
        return await self.run("sh", "-c", script, timeout_seconds=timeout_seconds)

    @property
    def input_root(self) -> Path:
        return Path(self.enclosure.input_root)

    @property
    def stdout(self) -> str:
        return self.runner.stdout.read(1 << 20).decode()

    @property
    def stderr(self) -> str:
        return self.runner.stderr.read(1 << 20).decode()


@pytest.fixture
async def bubblewrap(reachable_path: Path) -> Bubblewrap:
    directory = reachable_path / "sandbox"
    directory.mkdir(mode=0o711)
    choice = await choose_sandbox("required", directory, (), separate_uid=False)
    assert choice.bubblewrap
    return choice.bubblewrap


@pytest.fixture(params=[pytest.param("separate-uid", marks=needs_root), "same-uid"])
async def bed(
    request: pytest.FixtureRequest, reachable_path: Path, bubblewrap: Bubblewrap
) -> AsyncIterator[Bed]:
    uid = ActionUid() if request.param == "separate-uid" else None
    for name in ("root", "tmp"):
        (reachable_path / name).mkdir()
        (reachable_path / name).chmod(0o777)
    enclosure = Enclosure(
        bubblewrap.host_tools, str(reachable_path / "root"), str(reachable_path / "tmp")
    )
    number = uid.number if uid else None
    async with Runner(reachable_path, number, bubblewrap.program) as runner:
        yield Bed(runner, enclosure)
    if uid:
        uid.release()


class TestOutcome:
    async def test_exit_codes_and_logs_are_the_commands(self, bed: Bed) -> None:
        outcome = await bed.sh("echo out; echo err >&2; exit 3")
        assert (outcome.ended_by, outcome.exit_code) == ("exit", 3)
        assert (bed.stdout, bed.stderr) == ("out\n", "err\n")

    async def test_death_by_a_signal_is_128_and_its_number(self, bed: Bed) -> None:
        assert (await bed.sh("kill -SEGV $$")).exit_code == 128 + 11

    @pytest.mark.parametrize("name", ["no-such-command", "/build/absent", "./no-interpreter"])
    async def test_what_is_not_there_in_its_view_ends_with_127(self, bed: Bed, name: str) -> None:
        (bed.input_root / "no-interpreter").write_text("#!/absent\n")
        (bed.input_root / "no-interpreter").chmod(0o755)
        assert (await bed.run(name)).exit_code == 127
        assert bed.stderr == f"reapi: {name}: command or its interpreter not found\n"

    @pytest.mark.parametrize("name", ["./text", "/build"])
    async def test_what_cannot_be_executed_ends_with_126(self, bed: Bed, name: str) -> None:
        (bed.input_root / "text").write_text("text")
        assert (await bed.run(name)).exit_code == 126
        assert bed.stderr == f"reapi: {name}: cannot be executed: Permission denied\n"

    async def test_a_sandbox_that_cannot_be_set_up_is_no_exit_code(self, bed: Bed) -> None:
        whole = bed.enclosure
        bed.enclosure = replace(whole, read_only=(Bind("/absent", "/absent"),))
        with pytest.raises(ResourceExhausted, match="bwrap: Can't find source path /absent"):
            await bed.run("true")
        bed.enclosure = whole
        assert (await bed.run("true")).exit_code == 0

    async def test_a_bubblewrap_that_is_gone_is_no_exit_code(self, bed: Bed) -> None:
        async with Runner(bed.input_root, None, "/absent/bwrap") as runner:
            with pytest.raises(ResourceExhausted, match="/absent/bwrap"):
                await runner.run(["true"], ENVIRONMENT, "/build", 30, bed.enclosure)

    async def test_a_bubblewrap_that_is_killed_takes_its_command_along_and_leaves_the_logs(
        self, bed: Bed
    ) -> None:
        """As the kernel does when memory is short."""
        fifo, name = bed.input_root / "fifo", f"killed-{uuid.uuid4()}"
        os.mkfifo(fifo)
        fifo.chmod(0o666)
        script = "echo early; echo err >&2; echo >fifo; while :; do sleep 1000; done"
        run = asyncio.ensure_future(bed.run("sh", "-c", script, name))
        await asyncio.to_thread(fifo.read_text)
        assert processes_of(name)
        assert bed.runner._process
        bubblewrap = next(descendants(bed.runner._process.pid))
        os.kill(bubblewrap, signal.SIGKILL)
        outcome = await run
        assert (outcome.ended_by, outcome.exit_code) == ("exit", 137)
        assert (bed.stdout, bed.stderr) == ("early\n", "err\n")
        assert not processes_of(name)

    async def test_a_command_cannot_pass_for_a_sandbox_that_failed(self, bed: Bed) -> None:
        text = "bwrap: execvp true: No such file or directory"
        assert (await bed.sh(f"echo '{text}' >&2; exit 1")).exit_code == 1
        assert bed.stderr == f"{text}\n"

    async def test_a_timeout_is_told_as_such(self, bed: Bed) -> None:
        outcome = await bed.sh("echo early; sleep 1000", timeout_seconds=3)
        assert (outcome.ended_by, outcome.exit_code, bed.stdout) == ("timeout", 137, "early\n")
        assert (await bed.run("true")).exit_code == 0


class TestStart:
    async def test_where_a_command_is_and_who_it_is_say_nothing_of_the_worker(
        self, bed: Bed
    ) -> None:
        await bed.sh("pwd; id; hostname; umask; cat /etc/passwd")
        assert bed.stdout.splitlines() == [
            "/build",
            "uid=1000(build) gid=1000(build) groups=1000(build)",
            "localhost",
            "0022",
            "root:x:0:0:root:/:/bin/sh",
            "build:x:1000:1000::/tmp:/bin/sh",
            "nobody:x:65534:65534:nobody:/:/bin/sh",
        ]

    async def test_IN3_the_environment_is_what_was_asked_for_and_pwd(self, bed: Bed) -> None:
        await bed.run("env", GREETING="grüße", LC_ALL="de_DE.UTF-8")
        assert sorted(bed.stdout.splitlines()) == [
            "GREETING=grüße",
            "LC_ALL=de_DE.UTF-8",
            "PATH=/usr/bin:/bin",
            "PWD=/build",
        ]

    async def test_IN3_a_pwd_of_the_command_is_kept(self, bed: Bed) -> None:
        await bed.run("env", PWD="/proc/self/cwd")
        assert sorted(bed.stdout.splitlines()) == ["PATH=/usr/bin:/bin", "PWD=/proc/self/cwd"]

    async def test_the_environment_does_nothing_to_bubblewrap(self, bed: Bed) -> None:
        """Its loader would take a library of the action into a process that is not enclosed."""
        (bed.input_root / "evil.so").write_bytes(b"not a library")
        await bed.run("true", LD_PRELOAD=f"{bed.input_root}/evil.so")
        assert bed.stderr.count("evil.so") == 1  # from true itself

    async def test_as_many_arguments_as_the_system_takes_arrive_unchanged(self, bed: Bed) -> None:
        odd = "a 'b' \"$(c)\"\n\\`d` grüße"
        script = 'echo $#; test "$1" = "$30000" && printf %s "$1"; echo "$PWD $ODD"'
        script = script.replace("$30000", "${30000}")
        await bed.run("sh", "-c", script, "sh", *[odd] * 30000, PWD="/proc/self/cwd", ODD=odd)
        assert bed.stdout == f"30000\n{odd}/proc/self/cwd {odd}\n"

    async def test_of_many_arguments_a_command_that_is_not_there_is_127(self, bed: Bed) -> None:
        assert (await bed.run("absent", *["x"] * 20000)).exit_code == 127

    async def test_a_name_that_reads_as_a_variable_is_refused_where_it_would(
        self, bed: Bed
    ) -> None:
        (bed.input_root / "a=b").write_text("#!/bin/sh\n")
        (bed.input_root / "a=b").chmod(0o755)
        assert (await bed.run("./a=b")).exit_code == 0
        with pytest.raises(InvalidArgument, match="must not hold '='"):
            await bed.run("./a=b", PWD="/x")

    async def test_B15_more_than_the_system_takes_is_refused(self, bed: Bed) -> None:
        with pytest.raises(InvalidArgument, match="larger than this system takes"):
            await bed.run("true", "x" * (3 << 20))
        assert (await bed.run("true")).exit_code == 0


class TestEnclosure:
    async def test_another_directory_can_be_the_root(
        self, bed: Bed, bubblewrap: Bubblewrap
    ) -> None:
        """The host's tools are bound into it here, as an image would have its own."""
        root = bed.input_root.parent / "image"
        tools = bubblewrap.host_tools
        for name in ("dev", "proc", "tmp", "build", "usr", "etc"):
            (root / name).mkdir(parents=True)
        for name, target in tools.links:
            (root / name[1:]).symlink_to(target)
        (root / "mark").write_text("image\n")
        bed.enclosure = replace(
            bed.enclosure,
            root=Directory(str(root), read_only=True),
            read_only=(Bind("/usr", "/usr"),),
        )
        assert (await bed.sh("pwd; cat /mark; touch /x || touch x")).exit_code == 0
        assert bed.stdout == "/build\nimage\n"
        assert (bed.input_root / "x").exists()

    async def test_the_input_root_can_be_the_root(self, bed: Bed) -> None:
        (bed.input_root / "usr").mkdir()
        for name in ("bin", "lib", "lib64"):
            (bed.input_root / name).symlink_to(f"usr/{name}")
        bed.enclosure = replace(
            bed.enclosure,
            root=Directory(bed.enclosure.input_root, read_only=False),
            input_root_at="/",
            read_only=(Bind("/usr", "/usr"),),
        )
        directory = bed.enclosure.working_directory(())
        assert directory == "/"
        outcome = await bed.runner.run(
            ["sh", "-c", "pwd; touch /out"], ENVIRONMENT, directory, 30, bed.enclosure
        )
        assert (outcome.exit_code, bed.stdout) == (0, "/\n")
        assert (bed.input_root / "out").exists()

    @pytest.mark.parametrize(
        ("root", "segments", "path"),
        [
            ("/build", (), "/build"),
            ("/build", ("a", "b"), "/build/a/b"),
            ("/", (), "/"),
            ("/", ("a",), "/a"),
        ],
    )
    def test_the_working_directory_is_below_the_input_root(
        self, root: str, segments: tuple[str, ...], path: str
    ) -> None:
        enclosure = Enclosure(HostTools(()), "/slot/root", "/slot/tmp", input_root_at=root)
        assert enclosure.working_directory(segments) == path

    def test_the_network_is_shared_only_where_it_is_wanted(self) -> None:
        enclosure = Enclosure(HostTools(()), "/slot/root", "/slot/tmp")
        assert "--unshare-net" in enclosed("bwrap", enclosure, ["true"], {}, "/build")
        enclosure = replace(enclosure, network=True)
        assert "--unshare-net" not in enclosed("bwrap", enclosure, ["true"], {}, "/build")


async def test_results_do_not_depend_on_the_slot(reachable_path: Path) -> None:
    """The same action, in two work areas, writes the same bytes."""
    outputs = []
    for name in ("one", "two"):
        (reachable_path / name).mkdir(mode=0o711)
        async with open_harness(
            reachable_path / name, separate_uid=False, sandbox="required"
        ) as slot:
            script = "(pwd; env; id; df --output=target .; realpath in $TMPDIR) >out"
            response = await slot.sh(script, {"in": b""}, output_paths=["out"])
            outputs.append(response.result.output_files[0].digest)
    assert outputs[0] == outputs[1]
