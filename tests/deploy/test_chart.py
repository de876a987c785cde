"""What the chart makes of values: Kubernetes and the server both take it, and it fits together."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from reapi.server.config import ServerConfig, load_config
from reapi.server.roles import check_roles
from tests.deploy.chart import (
    CHART,
    EXAMPLES,
    MINIMAL,
    NAME,
    POOLS,
    PRODUCTION,
    ROOT,
    SCALED,
    Chart,
    Manifest,
    Refused,
    Values,
    configuration_of,
    container_of,
    of_kind,
    roles_of,
    workloads,
)

examples = pytest.mark.parametrize("values", EXAMPLES.values(), ids=EXAMPLES)


def config_of(workload: Manifest, manifests: list[Manifest], folder: Path) -> ServerConfig:
    """As the server in its pods reads it."""
    file = folder / "config.toml"
    file.write_text(configuration_of(workload, manifests))
    return load_config(file, {"server": {"roles": roles_of(workload)}})


def test_the_chart_is_of_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]


def test_the_guide_shows_values_that_can_be_had(chart: Chart) -> None:
    guide = (ROOT / "docs" / "kubernetes.md").read_text()
    shown = re.findall(r"^```yaml\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert shown
    for text in shown:
        chart.text(MINIMAL | yaml.safe_load(text))


def test_the_schema_knows_the_values_that_there_are() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def check(known: dict[str, Any], values: dict[str, Any], path: str) -> None:
        known = schema["definitions"][known["$ref"].split("/")[-1]] if "$ref" in known else known
        if "properties" in known and path != "resources":
            assert {*known["properties"]} - {"global"} == {*values}, path
            for name, value in values.items():
                check(known["properties"][name], value, name)

    check(schema, yaml.safe_load((CHART / "values.yaml").read_text()), "")


@examples
def test_helm_has_nothing_to_say_of_it(chart: Chart, values: Values) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in chart.lint(values)


@pytest.mark.soak
@examples
def test_kubernetes_knows_every_field(chart: Chart, values: Values, manifest_check: Path) -> None:
    text = chart.text(values)
    done = subprocess.run([manifest_check], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= len(chart.render(values))


@pytest.mark.soak
def test_a_field_that_kubernetes_does_not_know_is_noticed(
    chart: Chart, manifest_check: Path
) -> None:
    text = chart.text(MINIMAL).replace("terminationGracePeriodSeconds", "terminationGraceSeconds")
    done = subprocess.run([manifest_check], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    said = f"StatefulSet {NAME}-server: error unmarshaling JSON: while decoding JSON: "
    assert f'{said}json: unknown field "terminationGraceSeconds"' in done.stderr


@examples
def test_the_server_takes_every_configuration(chart: Chart, values: Values, tmp_path: Path) -> None:
    manifests = chart.render(values)
    for workload in workloads(manifests).values():
        config = config_of(workload, manifests, tmp_path)
        check_roles(config, is_storage_shared=config.storage.is_shared)
        text = configuration_of(workload, manifests)
        assert not re.search(r"\d(\.0|e\+\d+)$", text, re.MULTILINE), "a number became a float"


@examples
def test_what_a_pod_names_is_there(chart: Chart, values: Values) -> None:
    manifests = chart.render(values)
    for workload in workloads(manifests).values():
        spec = workload["spec"]["template"]["spec"]
        container = container_of(workload)
        claims = workload["spec"].get("volumeClaimTemplates", [])
        volumes = {one["name"]: one for one in spec["volumes"]}
        mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
        assert {*mounts.values()} == {*volumes, *(one["metadata"]["name"] for one in claims)}
        for file in re.findall(r'"(/etc/reapi/[^"]+)"', configuration_of(workload, manifests)):
            folder, _, key = file.rpartition("/")
            items = volumes[mounts[folder]]["secret"]["items"]
            assert {"key": key, "path": key} in items, file
        ports = {one["name"] for one in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
        assert spec["serviceAccountName"] in of_kind(manifests, "ServiceAccount")


@examples
def test_selectors_select(chart: Chart, values: Values) -> None:
    manifests = chart.render(values)
    pods = [
        (one["spec"]["template"]["metadata"]["labels"], container_of(one))
        for one in workloads(manifests).values()
    ]

    def selected(wanted: dict[str, str]) -> list[dict[str, Any]]:
        return [container for labels, container in pods if wanted.items() <= labels.items()]

    for one in manifests:
        kind, spec = one["kind"], one.get("spec", {})
        if kind == "Service":
            for container in (found := selected(spec["selector"])):
                names = {port["name"] for port in container["ports"]}
                assert {port["targetPort"] for port in spec["ports"]} <= names
            assert found
        elif kind in ("Deployment", "StatefulSet", "PodDisruptionBudget"):
            assert len(selected(spec["selector"]["matchLabels"])) == 1
        elif kind == "NetworkPolicy":
            assert selected(spec["podSelector"]["matchLabels"])
        elif kind == "PodMonitor":
            assert len(selected(spec["selector"]["matchLabels"])) == len(pods)


@examples
def test_no_pod_has_more_rights_than_it_needs(chart: Chart, values: Values) -> None:
    for workload in workloads(chart.render(values)).values():
        spec = workload["spec"]["template"]["spec"]
        container = container_of(workload)["securityContext"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert container["allowPrivilegeEscalation"] is False
        assert container["capabilities"] == {"drop": ["ALL"]}
        assert container["readOnlyRootFilesystem"] is True
        # Only inside of a user namespace is what Kubernetes hides shown.
        assert ("procMount" in container) == (spec.get("hostUsers") is False)


def test_executors_get_no_credentials_but_their_own(chart: Chart) -> None:
    manifests = chart.render(PRODUCTION)
    spec = workloads(manifests)[f"{NAME}-executor"]["spec"]["template"]["spec"]
    found = {
        (one["secret"]["secretName"], item["key"])
        for one in spec["volumes"]
        if "secret" in one
        for item in one["secret"]["items"]
    }
    assert found == {
        ("certificate", "ca.crt"),
        ("client-certificate", "tls.crt"),
        ("client-certificate", "tls.key"),
        ("server-token", "token"),
    }


def test_executors_that_store_directly_are_given_the_storage(chart: Chart, tmp_path: Path) -> None:
    manifests = chart.render({**PRODUCTION, "executors": {"storage": "direct"}})
    executor = workloads(manifests)[f"{NAME}-executor"]
    config = config_of(executor, manifests, tmp_path)
    frontend = config_of(workloads(manifests)[f"{NAME}-frontend"], manifests, tmp_path)
    assert config.storage.blobs == frontend.storage.blobs
    assert config.storage.state == frontend.storage.state


@examples
def test_what_drains_is_not_killed_before(chart: Chart, values: Values, tmp_path: Path) -> None:
    values = {**values, "drainSeconds": 50}
    manifests = chart.render(values)
    for workload in workloads(manifests).values():
        spec = workload["spec"]["template"]["spec"]
        lifecycle = container_of(workload).get("lifecycle", {})
        *_, waited = lifecycle.get("preStop", {"exec": {"command": ["0"]}})["exec"]["command"]
        config = config_of(workload, manifests, tmp_path)
        assert config.server.drain_seconds == 50
        assert spec["terminationGracePeriodSeconds"] > 50 + int(waited)


def test_F1_replicas_are_executors_of_one_endpoint(chart: Chart, tmp_path: Path) -> None:
    manifests = chart.render({**PRODUCTION, "executors": {"replicas": 7}})
    executor = workloads(manifests)[f"{NAME}-executor"]
    assert (executor["kind"], executor["spec"]["replicas"]) == ("StatefulSet", 7)
    config = config_of(executor, manifests, tmp_path)
    assert config.scheduler.endpoint == f"grpcs://{NAME}-scheduler:8983"
    assert config.executor.frontend_endpoint == f"grpcs://{NAME}:8980"
    services = of_kind(manifests, "Service")
    assert services[f"{NAME}-scheduler"]["spec"]["clusterIP"] == "None"
    assert executor["spec"]["serviceName"] in services


def test_the_number_of_executors_is_that_of_placement_modulo(chart: Chart, tmp_path: Path) -> None:
    values = {**PRODUCTION, "scheduler": {"placement": "modulo"}, "executors": {"replicas": 7}}
    manifests = chart.render(values)
    config = config_of(workloads(manifests)[f"{NAME}-scheduler"], manifests, tmp_path)
    assert (config.scheduler.placement, config.scheduler.expected_workers) == ("modulo", 7)


def test_scaling_executors_restarts_nothing(chart: Chart) -> None:
    few, many = (
        workloads(chart.render({**MINIMAL, "executors": {"replicas": replicas}}))
        for replicas in (1, 9)
    )
    for name, workload in few.items():
        assert workload["spec"]["template"] == many[name]["spec"]["template"]


def test_a_setting_of_the_scheduler_restarts_no_executor(chart: Chart) -> None:
    before, after = (
        workloads(chart.render({**PRODUCTION, "config": {"scheduler": {"history_days": days}}}))
        for days in (1, 2)
    )
    changed = {
        name
        for name, workload in before.items()
        if workload["spec"]["template"] != after[name]["spec"]["template"]
    }
    assert changed == {f"{NAME}-frontend", f"{NAME}-scheduler"}


def test_K3_executors_are_scaled_from_none(chart: Chart, tmp_path: Path) -> None:
    manifests = chart.render(SCALED)
    (scaled,) = of_kind(manifests, "ScaledObject").values()
    executor = workloads(manifests)[f"{NAME}-executor"]
    assert scaled["spec"]["scaleTargetRef"]["name"] == f"{NAME}-executor"
    assert scaled["spec"]["minReplicaCount"] == 0
    # What is scaled by others must not be set back by the next upgrade.
    assert "replicas" not in executor["spec"]


def test_pools_are_known_to_the_scheduler_before_they_have_workers(
    chart: Chart, tmp_path: Path
) -> None:
    manifests = chart.render(POOLS)
    made = workloads(manifests)
    pools = config_of(made[f"{NAME}-server"], manifests, tmp_path).scheduler.pools
    for name, pool in zip(("executor", "executor-gpu"), pools, strict=True):
        offered = config_of(made[f"{NAME}-{name}"], manifests, tmp_path).executor
        assert offered.platform == pool.platform
        assert offered.resources == pool.resources
    assert pools[1].resources == {"cpu": "2", "memory": "4Gi", "gpu": "1"}


def test_amounts_may_be_numbers_as_for_kubernetes(chart: Chart, tmp_path: Path) -> None:
    resources = {"requests": {"cpu": 1.5}, "limits": {"memory": 4 << 30}}
    manifests = chart.render({**MINIMAL, "executors": {"resources": resources}})
    config = config_of(workloads(manifests)[f"{NAME}-executor"], manifests, tmp_path)
    assert config.executor.resources == {"cpu": "1.5", "memory": str(4 << 30)}


def test_names_are_short_enough_for_the_labels_of_pods(chart: Chart) -> None:
    pool = "p" * 15
    values = {**MINIMAL, "fullnameOverride": "n" * 60, "executorPools": {pool: {}}}
    made = workloads(chart.render(values))
    assert f"{'n' * 26}-executor-{pool}" in made
    assert max(map(len, made)) <= 52
    with pytest.raises(Refused):
        chart.text({**values, "executorPools": {f"{pool}p": {}}})


def test_further_settings_count_above_all_others(chart: Chart, tmp_path: Path) -> None:
    manifests = chart.render({**MINIMAL, "config": {"storage": {"max_size_bytes": 1 << 40}}})
    config = config_of(workloads(manifests)[f"{NAME}-server"], manifests, tmp_path)
    assert config.storage.max_size_bytes == 1 << 40
    assert config.storage.retention_seconds == 86400


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "auth.mode = tokens needs auth.tokensSecret"),
        ({"auth": {"tokensSecret": "tokens"}}, "needs auth.serverTokenSecret"),
        ({"auth": {"mode": "token"}}, "'/auth/mode': value must be one of"),
        ({**MINIMAL, "executor": {"replicas": 3}}, "'executor' not allowed"),
        ({**MINIMAL, "executors": {"replicas": -1}}, "'/executors/replicas': minimum"),
        ({**MINIMAL, "executors": {"slots": "many"}}, "'/executors/slots': got string"),
        ({**MINIMAL, "executors": {"sandbox": "docker"}}, "'/executors/sandbox'"),
        ({**MINIMAL, "executors": {"storage": "direct"}}, "executors.storage = direct needs"),
        ({**MINIMAL, "executorPools": {"GPU": {}}}, "'GPU' does not match"),
        ({**MINIMAL, "storage": {"state": {"kind": "postgresql"}}}, "state.existingSecret"),
        ({**MINIMAL, "storage": {"blobs": {"kind": "s3"}}}, "needs storage.blobs.bucket"),
        ({**MINIMAL, "tls": {"clientCaSecretName": "ca"}}, "needs tls.secretName"),
        (
            {**MINIMAL, "tls": {"secretName": "tls", "clientCaSecretName": "ca"}},
            "needs tls.clientSecretName",
        ),
        ({**MINIMAL, "executors": {"autoscaling": {"enabled": True}}}, "prometheusAddress"),
        ({**SCALED, "scheduler": {"placement": "modulo"}}, "needs a fixed number"),
        ({**SCALED, "executorPools": {"gpu": {}}}, "needs platformPattern"),
        (
            {**MINIMAL, "scheduler": {"placement": "modulo"}, "executorPools": {"gpu": {}}},
            "one row of ordinals",
        ),
    ],
)
def test_values_that_cannot_work_are_refused_by_their_names(
    chart: Chart, values: Values, said: str
) -> None:
    with pytest.raises(Refused, match=re.escape(said)):
        chart.text(values)
