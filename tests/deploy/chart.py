"""The Helm chart as its users render it, and examples of what they set."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "reapi"
RELEASE = "t"
NAME = "t-reapi"
KUBERNETES = "1.34.0"

Manifest = dict[str, Any]
Values = Mapping[str, Any]

MINIMAL: Values = {"auth": {"mode": "none"}}
"""One server with a volume, and executors."""

PRODUCTION: Values = {
    "storage": {
        "state": {"kind": "postgresql", "existingSecret": "database"},
        "blobs": {
            "kind": "s3",
            "bucket": "blobs",
            "endpoint": "minio:9000",
            "useSSL": False,
            "existingSecret": "bucket",
        },
    },
    "auth": {"tokensSecret": "tokens", "serverTokenSecret": "server-token"},
    "tls": {
        "secretName": "certificate",
        "clientCaSecretName": "client-authority",
        "clientSecretName": "client-certificate",
    },
    "frontend": {"cacheMaxSizeBytes": 100_000_000_000},
    "networkPolicy": {"enabled": True, "clients": [{"podSelector": {}}]},
    "config": {"scheduler": {"history_days": 30}, "executor": {"limits": {"processes": 99}}},
}
"""Frontends, schedulers and executors, on a database and a bucket, with tokens and mutual TLS."""

SCALED: Values = {
    "auth": {"mode": "none"},
    "executors": {
        "autoscaling": {
            "enabled": True,
            "prometheusAddress": "http://prometheus.monitoring:9090",
            "platformPattern": "",
        }
    },
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
}
"""Executors as many as there is work for."""

POOLS: Values = {
    **SCALED,
    "executors": {
        "userNamespaces": True,
        "sandbox": "required",
        "persistence": {"enabled": True},
        "autoscaling": SCALED["executors"]["autoscaling"] | {"platformPattern": "|OSFamily=linux"},
    },
    "executorPools": {
        "gpu": {
            "slots": 1,
            "platform": {"gpu": "a100"},
            "offers": {"gpu": 1},
            "nodeSelector": {"accelerator": "a100"},
            "autoscaling": {"platformPattern": ".*gpu=a100.*"},
        }
    },
}
"""The same in two pools, with bubblewrap and claims."""

EXAMPLES = {"minimal": MINIMAL, "production": PRODUCTION, "scaled": SCALED, "pools": POOLS}


class Refused(Exception):
    """What helm says of values that it does not take."""


@dataclass(frozen=True)
class Chart:
    """`helm` is the program."""

    helm: Path

    def text(self, values: Values) -> str:
        """All manifests; raises Refused."""
        command = ["template", RELEASE, str(CHART), "--kube-version", KUBERNETES, "--values", "-"]
        return self._run(command, values)

    def lint(self, values: Values) -> str:
        """What `helm lint` says; raises Refused for a warning, too."""
        return self._run(["lint", "--strict", str(CHART), "--values", "-"], values)

    def render(self, values: Values) -> list[Manifest]:
        """All objects that the release is made of."""
        return [one for one in yaml.safe_load_all(self.text(values)) if one]

    def _run(self, command: list[str], values: Values) -> str:
        done = subprocess.run(
            [self.helm, *command],
            input=json.dumps(values),
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise Refused(done.stdout + done.stderr)
        return done.stdout


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    """By name."""
    return {one["metadata"]["name"]: one for one in manifests if one["kind"] in kinds}


def workloads(manifests: list[Manifest]) -> dict[str, Manifest]:
    """What pods are made from, by name."""
    return of_kind(manifests, "Deployment", "StatefulSet")


def container_of(workload: Manifest) -> dict[str, Any]:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(container)


def roles_of(workload: Manifest) -> tuple[str, ...]:
    """Those that the arguments of its container name."""
    arguments = container_of(workload)["args"]
    return tuple(arguments[at + 1] for at, argument in enumerate(arguments) if argument == "--role")


def configuration_of(workload: Manifest, manifests: list[Manifest]) -> str:
    """The TOML that its pods read."""
    volumes = workload["spec"]["template"]["spec"]["volumes"]
    (name,) = (one["configMap"]["name"] for one in volumes if "configMap" in one)
    return str(of_kind(manifests, "ConfigMap")[name]["data"]["config.toml"])
