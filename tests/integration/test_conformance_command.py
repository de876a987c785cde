"""Conformance of how a Command is run: program, place, environment, inputs (conformance 1.8)."""

import os
from pathlib import Path
from typing import Any

import pytest
from google.rpc import code_pb2

from reapi.core.digest import digest_of
from reapi.core.errors import InvalidArgument, ReapiError
from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2
from tests.integration.system import Gate, System, sh
from tests.unit.executor.harness import Executable, Link, Tree, needs_root

SHOW = Executable(b"""#!/bin/sh
echo "$0 in /$(pwd | sed -E 's,.*/(root|build)/?,,')"
""")


async def refusal(system: System, command: re_pb2.Command, tree: Tree | None = None) -> int:
    """The code with which a command is refused, be it by the call or in the response."""
    try:
        response = await system.run(command, tree)
    except ReapiError as error:
        return error.code
    assert not response.HasField("result")
    return response.status.code


class TestProgram:
    @pytest.mark.parametrize(
        ("program", "where", "printed"),
        [
            ("./show", "", "./show in /\n"),
            ("bin/show", "", "bin/show in /\n"),
            ("./show", "bin", "./show in /bin\n"),
            ("../show", "bin", "../show in /bin\n"),
        ],
    )
    async def test_IN1_a_relative_program_is_relative_to_the_working_directory(
        self, system: System, program: str, where: str, printed: str
    ) -> None:
        command = re_pb2.Command(arguments=[program], working_directory=where)
        tree: Tree = {"show": SHOW, "bin": {"show": SHOW}}
        assert await system.stdout(await system.run(command, tree)) == printed

    async def test_IN1_absolute_programs_and_bare_names_of_the_commands_path(
        self, system: System
    ) -> None:
        for arguments in (["/bin/echo", "hi"], ["echo", "hi"]):
            command = re_pb2.Command(arguments=arguments)
            assert await system.stdout(await system.run(command)) == "hi\n"
        variables = [{"name": "PATH", "value": "tools:/bin:/usr/bin"}]
        tree: Tree = {"tools": {"show": SHOW}}
        command = re_pb2.Command(arguments=["show"], environment_variables=variables)
        assert await system.stdout(await system.run(command, tree)) == "tools/show in /\n"

    async def test_IN1_a_program_that_is_not_there_or_not_executable_is_a_failed_command(
        self, system: System
    ) -> None:
        for arguments, exit_code in ((["./absent"], 127), (["absent"], 127), (["./text"], 126)):
            response = await system.run(re_pb2.Command(arguments=arguments), {"text": b"x"})
            assert response.status.code == code_pb2.OK
            assert response.result.exit_code == exit_code
            assert await system.read(response.result.stderr_digest)

    @pytest.mark.parametrize("arguments", [[], [""], ["", "x"]])
    async def test_IN1_a_command_without_program_is_refused(
        self, system: System, arguments: list[str]
    ) -> None:
        with pytest.raises(InvalidArgument, match="arguments"):
            await system.run(re_pb2.Command(arguments=arguments))

    async def test_IN1_arguments_come_through_as_they_are(self, system: System) -> None:
        words = ["", " ", "a b", "*", "$HOME", "`x`", "ü\n", "-n", '"', "'", "\\"]
        command = re_pb2.Command(arguments=["printf", "%s|", *words])
        assert await system.stdout(await system.run(command)) == "|".join(words) + "|"

    @pytest.mark.parametrize(
        "command",
        [
            re_pb2.Command(arguments=["/bin/true", "x" * (10 << 20)]),
            re_pb2.Command(arguments=["/bin/true", *["x" * 100] * 30_000]),
            re_pb2.Command(arguments=["/bin/true", *["x" * 100] * 50_000]),
            re_pb2.Command(arguments=["/bin/true", "x" * 200_000]),
            re_pb2.Command(arguments=["/bin/true", "a\0b"]),
            re_pb2.Command(arguments=["/bin/tr\0ue"]),
            sh("true", environment_variables=[{"name": "A", "value": "x" * (10 << 20)}]),
            sh("true", environment_variables=[{"name": "A", "value": "a\0b"}]),
            sh("true", environment_variables=[{"name": "A\0", "value": "b"}]),
            sh("true", environment_variables=[{"name": "A=B", "value": "b"}]),
            sh("true", environment_variables=[{"name": "", "value": "b"}]),
        ],
        ids=lambda command: f"{len(command.SerializeToString())} bytes",
    )
    async def test_B15_what_no_system_can_start_is_refused(
        self, system: System, command: re_pb2.Command
    ) -> None:
        assert await refusal(system, command) == code_pb2.INVALID_ARGUMENT


class TestPlace:
    async def test_IN2_the_working_directory_is_one_of_the_input_tree(self, system: System) -> None:
        tree: Tree = {"a": {"b": {"in": b"here"}}}
        for where in ("a/b", "a/./b", "a/../a/b"):
            response = await system.sh("cat in", tree, working_directory=where)
            assert await system.stdout(response) == "here"
        response = await system.sh("cat a/b/in", tree)
        assert await system.stdout(response) == "here"

    @pytest.mark.parametrize("where", ["absent", "a/absent", "a/file", "a/file/b", "a/link"])
    async def test_IN2_a_place_that_is_no_input_directory_is_refused(
        self, system: System, where: str
    ) -> None:
        tree: Tree = {"a": {"file": b"", "link": Link("/tmp")}}
        code = await refusal(system, sh("true", working_directory=where), tree)
        assert code == code_pb2.FAILED_PRECONDITION

    @pytest.mark.parametrize("where", ["..", "a/../..", "../a", "/", "/tmp", "a\0", "x" * 5000])
    async def test_IN2_B14_a_place_outside_the_input_root_is_refused(
        self, system: System, where: str
    ) -> None:
        with pytest.raises(InvalidArgument, match="working_directory"):
            await system.run(sh("true", working_directory=where), {"a": {}})

    async def test_IN3_the_environment_is_what_is_listed_and_the_defaults(
        self, system: System, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PATH and TMPDIR; bubblewrap adds PWD."""
        monkeypatch.setenv("SECRET_OF_THE_WORKER", "leaked")
        variables = [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}]
        command = re_pb2.Command(arguments=["env"], environment_variables=variables)
        lines = (await system.stdout(await system.run(command))).splitlines()
        names = [line.partition("=")[0] for line in lines]
        assert sorted({*names} - {"PWD"}) == ["A", "EMPTY", "PATH", "TMPDIR"]
        assert {"A=1", "EMPTY="} <= set(lines)
        variables = [
            {"name": "TMPDIR", "value": "/x"},
            {"name": "PATH", "value": "/usr/bin:/bin"},
            {"name": "PWD", "value": "/proc/self/cwd"},
        ]
        command = re_pb2.Command(arguments=["env"], environment_variables=variables)
        lines = (await system.stdout(await system.run(command))).splitlines()
        assert sorted(lines) == ["PATH=/usr/bin:/bin", "PWD=/proc/self/cwd", "TMPDIR=/x"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"output_paths": ["new/deep/file"]},
            {"output_files": ["new/deep/file"]},
            {"output_directories": ["new/deep/file"]},
        ],
    )
    async def test_IN6_parents_of_outputs_exist_and_the_outputs_do_not(
        self, system: System, fields: dict[str, Any]
    ) -> None:
        response = await system.sh(
            "ls -A new/deep; test -d ../w/new/deep", {"w": {}}, working_directory="w", **fields
        )
        assert await system.stdout(response) == ""
        assert response.result.exit_code == 0

    async def test_IN6_parents_of_outputs_exist_behind_links_of_the_input_tree(
        self, system: System
    ) -> None:
        tree: Tree = {"real": {"in": b""}, "link": Link("w/../real"), "w": {"up": Link("../link")}}
        for path in ("link/a/out", "w/up/b/out"):
            response = await system.sh(f"echo x >{path}", tree, output_paths=[path])
            assert [file.path for file in response.result.output_files] == [path]

    async def test_IN6_an_input_that_is_declared_as_output_is_there(self, system: System) -> None:
        script = "cat out; rm out; echo new >out"
        response = await system.sh(script, {"out": b"old"}, output_paths=["out"])
        assert await system.stdout(response) == "old"
        assert await system.read(response.result.output_files[0].digest) == b"new\n"


class TestInputs:
    async def test_IN15_modes_and_new_files_among_inputs(self, system: System) -> None:
        script = "stat -c %a run text; ./run; echo new >d/new; mkdir d/e; rm d/old; ls d"
        tree: Tree = {"run": Executable(b"#!/bin/sh\necho ran\n"), "text": b"", "d": {"old": b""}}
        response = await system.sh(script, tree)
        assert await system.stdout(response) == "555\n444\nran\ne\nnew\n"

    async def test_IN15_unknown_node_properties_of_inputs_are_ignored(self, system: System) -> None:
        properties = {
            "properties": [{"name": "bazel_tool_input", "value": ""}],
            "unix_mode": {"value": 0o777},
            "mtime": {"seconds": 5},
        }
        file = {"name": "in", "digest": digest_of(b"data").to_message()}
        root = re_pb2.Directory(files=[{**file, "node_properties": properties}])
        command = sh("stat -c %a in; cat in").SerializeToString()
        action = re_pb2.Action(
            command_digest=digest_of(command).to_message(),
            input_root_digest=digest_of(root.SerializeToString()).to_message(),
        ).SerializeToString()
        await system.add_blobs(b"data", root.SerializeToString(), command, action)
        response = await system.run_action(digest_of(action))
        assert await system.stdout(response) == "444\ndata"

    async def test_IN14_symlinks_of_inputs_are_made_as_they_are(self, system: System) -> None:
        tree: Tree = {
            "in": b"data",
            "d": {"up": Link("../in")},
            "absolute": Link("/etc"),
            "dangling": Link("nowhere"),
        }
        response = await system.sh("cat d/up; readlink d/up absolute dangling", tree)
        assert await system.stdout(response) == "data../in\n/etc\nnowhere\n"

    @pytest.mark.parametrize(
        "name", ["ü ñ", "a\nb", "-rf", "*", "x" * 255, " ", "\\", "'\"", "con", ".hidden"]
    )
    async def test_IN14_odd_names_are_names(self, system: System, name: str) -> None:
        command = re_pb2.Command(
            arguments=["/bin/sh", "-c", 'cat -- "./$1"; echo out >"./$1.o"', "sh", name[:200]],
            output_paths=[f"{name[:200]}.o"],
        )
        response = await system.run(command, {name[:200]: b"data", name: b"data"})
        assert await system.stdout(response) == "data"
        assert [file.path for file in response.result.output_files] == command.output_paths

    async def test_IN18_the_next_action_sees_nothing_of_the_one_before(
        self, idle_system: System
    ) -> None:
        tree: Tree = {"d": {"in": b"data"}}
        litter = "echo x >d/litter; echo x >litter; echo x >$TMPDIR/litter; rm d/in; mkdir -p e/f"
        look = "find . $TMPDIR -mindepth 1 | sort"
        async with idle_system.worker(sandbox_paths=[]):
            for number in range(3):
                await idle_system.sh(f"{litter}; : {number}", tree, output_paths=["declared"])
                response = await idle_system.sh(f"{look}; : {number}", tree)
                assert await idle_system.stdout(response) == "./d\n./d/in\n"

    async def test_IN18_only_declared_outputs_come_back(self, system: System) -> None:
        response = await system.sh("echo a >a; echo b >b; mkdir c", output_paths=["a"])
        assert [file.path for file in response.result.output_files] == ["a"]
        assert not response.result.output_directories

    @needs_root
    async def test_IN18_two_actions_at_once_are_strangers(
        self, system: System, gate: Gate, open_path: Path
    ) -> None:
        """Another uid, so neither can signal the other or look into its input root."""
        stream = system.stream(await system.add(sh(gate.script()), {"in": b"secret"}))
        await anext(stream)
        await gate.begun()
        slots = open_path / "worker-1"
        response = await system.sh(f"id -u; find '{slots}' -name in 2>/dev/null", {"mine": b""})
        gate.open()
        uid, *found = (await system.stdout(response)).split()
        assert int(uid) not in (0, os.getuid())
        assert not found
        assert [operation async for operation in stream][-1].done
