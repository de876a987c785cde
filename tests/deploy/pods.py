"""Pods without a cluster: the processes of rendered workloads, on loopback.

What the kubelet and the cluster's names do is done here: volumes become folders, mount paths and
the names of Services become those of this machine. All else is as rendered: arguments,
configuration, environment.
"""

import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.deploy.chart import Manifest, configuration_of, container_of, workloads
from tests.server_process import ServerProcess

Secrets = Mapping[str, Mapping[str, bytes]]


class Cluster:
    """A release on this machine, below `folder`. Pods find each other by `expose`."""

    def __init__(self, manifests: list[Manifest], folder: Path, secrets: Secrets) -> None:
        self._manifests = manifests
        self._workloads = workloads(manifests)
        self._folder = folder
        self._secrets = secrets
        self._addresses: dict[str, list[str]] = {}

    def pod(self, workload: str, ordinal: int) -> ServerProcess:
        """Of a StatefulSet the one with this ordinal, else one of so many."""
        name = f"{workload}-{ordinal}"
        made = self._workloads[workload]
        container = container_of(made)
        folder = self._folder / name
        mounts = self._mounts(made, folder)
        text = configuration_of(made, self._manifests)
        (mounts["/etc/reapi/config"] / "config.toml").write_text(self._here(text, mounts))
        command, *arguments = (self._here(one, mounts) for one in container["args"])
        assert command == "serve"
        return ServerProcess(
            mounts["/var/lib/reapi"], *arguments, environment=_environment(container, name)
        )

    def expose(self, service: str, *pods: ServerProcess) -> None:
        """From now on NAME:PORT of a Service leads to these."""
        self._addresses[service] = [pod.grpc for pod in pods]

    def check_probes(self, workload: str, pod: ServerProcess) -> None:
        """Raises when one of them fails."""
        container = container_of(self._workloads[workload])
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            fetch(pod, container[probe]["httpGet"]["path"])

    def _mounts(self, workload: Manifest, folder: Path) -> dict[str, Path]:
        """The folder of each path that the container sees, with what Secrets put there."""
        spec = workload["spec"]["template"]["spec"]
        volumes = {one["name"]: one for one in spec["volumes"]}
        mounts = {}
        for mount in container_of(workload)["volumeMounts"]:
            path = mounts[mount["mountPath"]] = folder / mount["name"]
            path.mkdir(parents=True)
            secret = volumes.get(mount["name"], {}).get("secret")
            for item in secret["items"] if secret else ():
                (path / item["path"]).write_bytes(self._secrets[secret["secretName"]][item["key"]])
        return mounts

    def _here(self, text: str, mounts: Mapping[str, Path]) -> str:
        """The same text, with the paths and addresses of this machine."""
        paths = "|".join(map(re.escape, sorted(mounts, key=len, reverse=True)))
        text = re.sub(rf"(?<![\w/])({paths})(?=[/\"]|$)", lambda at: str(mounts[at[1]]), text)
        services = "|".join(map(re.escape, self._addresses))
        if not services:
            return text

        def addresses(found: re.Match[str]) -> str:
            """A headless Service is all of its pods, which is written with commas here."""
            return ",".join(f"{found[1] or ''}{one}" for one in self._addresses[found[2]])

        return re.sub(rf"(grpcs://)?\b({services})\b", addresses, text)


def fetch(pod: ServerProcess, path: str) -> str:
    """What it answers by HTTP; raises unless that is 200."""
    with urllib.request.urlopen(f"http://{pod.http}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def _environment(container: Mapping[str, Any], pod: str) -> dict[str, str]:
    """What the container gets besides what its image sets."""
    fields = {"metadata.name": pod}
    return {
        one["name"]: fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
        for one in container.get("env", ())
    }
