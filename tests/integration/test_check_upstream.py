"""`reapi-server check` of an edge frontend: whether the servers behind it answer."""

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner, Result

from reapi.server.__main__ import main
from tests.integration.system import System


async def _check(folder: Path, endpoint: str, *instance_names: str) -> Result:
    names = json.dumps(instance_names)
    file = folder / "config.toml"
    file.write_text(
        f"data_dir = {json.dumps(str(folder / 'edge'))}\n"
        f'[server]\nroles = ["frontend"]\ninstance_names = {names}\n'
        f'[upstream]\nservers = [{{endpoint = "{endpoint}"}}]\n'
    )
    return await asyncio.to_thread(CliRunner().invoke, main, ["check", "--config", str(file)])


async def test_a_server_that_answers_passes(idle_system: System, tmp_path: Path) -> None:
    result = await _check(tmp_path, idle_system.address, "", "main")
    assert result.exit_code == 0, result.output
    assert f"upstream {idle_system.address} ok       answers in" in result.output
    assert not (tmp_path / "edge").exists()


async def test_a_server_that_is_not_there_fails(tmp_path: Path) -> None:
    result = await _check(tmp_path, "127.0.0.1:1", "")
    assert result.exit_code == 1
    assert "cannot reach a server at 127.0.0.1:1" in result.output
    assert "start it, or correct upstream.servers" in result.output


async def test_an_instance_that_the_server_does_not_have_fails(
    idle_system: System, tmp_path: Path
) -> None:
    result = await _check(tmp_path, idle_system.address, "", "other")
    assert result.exit_code == 1
    assert "no instance 'other' here" in result.output
