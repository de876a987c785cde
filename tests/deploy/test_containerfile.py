"""The Containerfile names what is there, and its commands install what the image needs.

No image is built here: that takes a container engine, and base images from a registry.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.chart import ROOT

DEPLOY = ROOT / "deploy"
INSTALLATION = "/opt/reapi"


def instructions() -> list[tuple[str, str]]:
    """The name of each, and the rest of it in one line."""
    text = (DEPLOY / "Containerfile").read_text()
    whole = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    found = (line.partition(" ") for line in whole.splitlines() if line)
    return [(name, rest) for name, _, rest in found]


def copies() -> list[tuple[list[str], str]]:
    """Sources and destination of each COPY from the project."""
    found = (
        rest.split() for name, rest in instructions() if name == "COPY" and "--from" not in rest
    )
    return [(sources, destination) for *sources, destination in found]


def test_what_is_copied_is_there_and_not_left_out_of_the_context() -> None:
    ignored = (DEPLOY / "Containerfile.dockerignore").read_text().split()
    for sources, _ in copies():
        for source in sources:
            assert (ROOT / source).exists(), source
            assert source.partition("/")[0] not in ignored


def test_all_that_the_distribution_consists_of_is_copied() -> None:
    (packaged,) = re.findall(
        r"^only-include = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.M
    )
    copied = {source for sources, _ in copies() for source in sources}
    assert {shlex.split(one)[0] for one in packaged.split(",")} <= copied


def test_it_runs_as_the_user_that_the_chart_gives_to_pods() -> None:
    users = [rest for name, rest in instructions() if name == "USER"]
    assert users == ["1000:1000"]
    pod = (DEPLOY / "helm" / "reapi" / "templates" / "_pod.tpl").read_text()
    assert "runAsUser: 1000\n" in pod
    assert "runAsGroup: 1000\n" in pod


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_the_commands_of_the_build_install_a_server(tmp_path: Path) -> None:
    source, installation = tmp_path / "source", tmp_path / "installation"
    for sources, destination in copies():
        for one in sources:
            place = source / destination / (one if destination == "./" else "")
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / one).is_dir():
                shutil.copytree(ROOT / one, place, ignore=shutil.ignore_patterns("target"))
            else:
                shutil.copy(ROOT / one, place)
    commands = [rest for name, rest in instructions() if name == "RUN" and INSTALLATION in rest]
    if shutil.which("cargo") is None:
        commands = [one for one in commands if not one.endswith("./transport")]
    assert commands
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command in commands:
        here = command.replace(INSTALLATION, str(installation))
        here = re.sub(r"^python ", f"{sys.executable} ", here)
        done = subprocess.run(
            here, shell=True, cwd=source, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    server = [str(installation / "bin" / "reapi-server"), "check", "--config", "/dev/null"]
    done = subprocess.run(server, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    served = "native" if shutil.which("cargo") else "grpc.aio"
    assert re.search(rf"^transport .*\b{re.escape(served)}\b", done.stdout, re.MULTILINE)
