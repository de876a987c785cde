"""A real compiler that stays warm: javac, in the sandbox that works here."""

import subprocess
from pathlib import Path

import pytest

from tests import fakes
from tests.unit.executor.harness import Harness, Tool, open_harness

SOURCE = Path(fakes.__path__[0]) / "WarmJavac.java"


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The class of the tool."""
    folder = tmp_path_factory.mktemp("javac")
    subprocess.run(["javac", "-d", folder, SOURCE], check=True)
    return (folder / "WarmJavac.class").read_bytes()


async def _compile(harness: Harness, compiler: bytes, name: str, source: str) -> tuple[int, str]:
    """The exit code, and what the compiler said; its output must be there when it succeeded."""
    tree = {
        "tool": {"WarmJavac.class": Tool(compiler)},
        "flags": f"-d\nout\n{name}.java\n".encode(),
        f"{name}.java": source.encode(),
    }
    response = await harness.run(
        ["/usr/bin/java", "-XX:TieredStopAtLevel=1", "-cp", "tool", "WarmJavac", "@flags"],
        tree,
        platform={"persistentWorkerKey": "javac"},
        output_paths=[f"out/{name}.class"],
    )
    assert response.status.code == 0
    assert len(response.result.output_files) == (response.result.exit_code == 0)
    return response.result.exit_code, harness.stderr(response)


async def test_javac_compiles_one_action_after_the_other_in_one_process(
    reachable_path: Path, compiler: bytes
) -> None:
    async with open_harness(
        reachable_path, separate_uid=False, sandbox="auto", persistent_worker_idle_seconds=1000
    ) as harness:
        workers = set()
        for number in range(3):
            name = f"Hello{number}"
            assert await _compile(harness, compiler, name, f"class {name} {{}}") == (0, "")
            workers.add(harness.slot.persistent_workers._worker)
        assert len(workers) == 1
        exit_code, said = await _compile(harness, compiler, "Bad", "class Bad { int x = true; }")
        assert exit_code == 1
        assert "incompatible types: boolean cannot be converted to int" in said
        assert await _compile(harness, compiler, "Good", "class Good {}") == (0, "")
        assert {harness.slot.persistent_workers._worker} == workers
