"""Conformance of files, logs and results as a whole: digests, inlining, sizes (IN17, IN19, AC4)."""

import stat
from pathlib import Path

import pytest
from google.rpc import code_pb2

from reapi.core.digest import digest_of
from reapi.core.errors import NotFound
from tests.integration.system import System, open_system, sh
from tests.unit.scheduler.harness import response_of


async def test_IN17_Q_META_files_have_digests_and_the_owners_executable_bit(
    system: System,
) -> None:
    modes = {"a": "755", "b": "644", "c": "100", "d": "677", "e": "400", "f": "000"}
    script = "".join(f"echo {n} >{n}; chmod {mode} {n};" for n, mode in modes.items())
    result = await system.run_cached(script + "touch g", output_paths=[*modes, "g"])
    for file in result.output_files[:-1]:
        assert file.digest == digest_of(f"{file.path}\n".encode()).to_message()
        assert file.is_executable == bool(int(modes[file.path], 8) & stat.S_IXUSR)
    assert result.output_files[-1].digest == digest_of(b"").to_message()
    assert result.HasField("execution_metadata")


async def test_IN17_AC4_logs_by_digest_and_inline_when_asked(system: System) -> None:
    action = await system.add(sh("echo out; echo err >&2"))
    for number, asked in enumerate(({}, {"inline_stdout": True}, {"inline_stderr": True})):
        result = (await system.run_action(action, skip_cache_lookup=True, **asked)).result
        assert result.stdout_raw == (b"out\n" if number == 1 else b"")
        assert result.stderr_raw == (b"err\n" if number == 2 else b"")
        assert result.stdout_digest == digest_of(b"out\n").to_message()
        assert result.stderr_digest == digest_of(b"err\n").to_message()
        assert await system.read(result.stdout_digest) == b"out\n"
        stored = await system.cached(action)
        assert not stored.stdout_raw
        assert not stored.stderr_raw


async def test_IN17_BB2_a_cached_result_is_inlined_as_well(system: System) -> None:
    script = "echo out; echo err >&2; echo data >f"
    action = await system.add(sh(script, output_paths=["f"]))
    asked = {"inline_stdout": True, "inline_stderr": True, "inline_output_files": ["f", "?"]}
    for is_cached in (False, True):
        response = await system.run_action(action, **asked)
        assert response.cached_result == is_cached
        assert response.result.stdout_raw == b"out\n"
        assert response.result.stderr_raw == b"err\n"
        assert response.result.output_files[0].contents == b"data\n"
    plain = (await system.run_action(action)).result
    assert not plain.stdout_raw
    assert not plain.output_files[0].contents


async def test_IN17_empty_logs_have_no_digest(system: System) -> None:
    result = await system.run_cached("true")
    assert not result.HasField("stdout_digest")
    assert not result.HasField("stderr_digest")


async def test_AC4_output_files_are_inlined_when_asked_and_digests_stay(system: System) -> None:
    command = sh("echo a >a; echo b >b; : >c", output_paths=["a", "b", "c"])
    action = await system.add(command)
    asked = {"inline_output_files": ["a", "c", "absent"]}
    result = (await system.run_action(action, **asked)).result
    contents = {file.path: file.contents for file in result.output_files}
    assert contents == {"a": b"a\n", "b": b"", "c": b""}
    assert result.output_files[0].digest == digest_of(b"a\n").to_message()


async def test_AC4_no_reply_is_larger_than_a_client_can_receive(system: System) -> None:
    """gRPC's 4 MiB: whatever is asked for, large outputs are told by digest."""
    large = "head -c 3000000 /dev/zero"
    script = f"{large}; {large} >&2; {large} >a; {large} >b"
    action = await system.add(sh(script, output_paths=["a", "b"]))
    asked = {"inline_stdout": True, "inline_stderr": True, "inline_output_files": ["a", "b"]}
    (*_, last) = await system.execute(action, **asked)
    assert last.ByteSize() < 4 << 20
    response = response_of(last)
    expected = digest_of(bytes(3_000_000)).to_message()
    assert response.result.stdout_digest == response.result.stderr_digest == expected
    assert [file.digest for file in response.result.output_files] == [expected] * 2
    assert len(await system.read(expected)) == 3_000_000


async def test_AC11_a_result_that_no_client_could_receive_is_refused(system: System) -> None:
    way_round = "d/../" * 680  # long paths make a large result of few files
    names = [f"{way_round}{number:04}" for number in range(1300)]
    action = await system.add(sh("seq -w 0 1299 | xargs touch", output_paths=names))
    (*_, last) = await system.execute(action)
    assert last.ByteSize() < 4 << 20
    response = response_of(last)
    assert response.status.code == code_pb2.FAILED_PRECONDITION
    assert "declare" in response.status.message


async def test_IN19_an_output_that_cannot_be_stored_is_no_success(open_path: Path) -> None:
    """Nothing is cached then, and logs and outputs that were stored are not published."""
    storage = {"max_size_bytes": 200_000}
    async with open_system(open_path, storage=storage) as system, system.worker():
        script = "head -c 300000 /dev/urandom >out"
        action = await system.add(sh(script, output_paths=["out"]))
        response = await system.run_action(action)
        assert response.status.code == code_pb2.RESOURCE_EXHAUSTED
        assert not response.HasField("result")
        with pytest.raises(NotFound):
            await system.cached(action)
        await system.check_alive()
