"""What the chart renders runs: real processes, with its configuration and arguments."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from reapi.cas.objects.s3_config import S3Config
from reapi.clients.channel import Channel
from reapi.clients.client import Client
from reapi.core.postgresql.dsn import Dsn
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Platform
from reapi.scheduler.modulo import owner
from reapi.server.config import ServerConfig
from tests.deploy.chart import MINIMAL, NAME, POOLS, PRODUCTION, Chart, of_kind
from tests.deploy.pods import Cluster, Secrets, fetch
from tests.integration.system import System, sh
from tests.server_process import ServerProcess
from tests.tls_files import TlsFolder
from tests.unit.scheduler.harness import response_of

FRONTEND, SCHEDULER, EXECUTOR = f"{NAME}-frontend", f"{NAME}-scheduler", f"{NAME}-executor"
TOKENS = {"executor": "the-token-of-the-pods", "runner": "the-token-of-a-client"}
GPU = Platform.Property(name="gpu", value="a100")


def production_secrets(dsn: Dsn, s3: S3Config, tls: TlsFolder) -> Secrets:
    """As an operator makes them, under the names in PRODUCTION."""
    tokens = "\n".join(
        f'[{role}]\ntoken_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
        f'roles = ["{role}"]'
        for role, token in TOKENS.items()
    )
    client_certificate, client_key = tls.pair("pod")
    assert s3.access_key_id_file is not None
    assert s3.secret_access_key_file is not None
    return {
        "database": {"dsn": dsn.url.encode()},
        "bucket": {
            "access_key_id": s3.access_key_id_file.read_bytes(),
            "secret_access_key": s3.secret_access_key_file.read_bytes(),
        },
        "tokens": {"tokens.toml": tokens.encode()},
        "server-token": {"token": TOKENS["executor"].encode()},
        "certificate": {
            "tls.crt": tls.server.certificate_file.read_bytes(),
            "tls.key": tls.server.key_file.read_bytes(),
            "ca.crt": tls.ca.read_bytes(),
        },
        "client-authority": {"ca.crt": tls.ca.read_bytes()},
        "client-certificate": {
            "tls.crt": client_certificate.read_bytes(),
            "tls.key": client_key.read_bytes(),
        },
    }


async def run_on_each(client: Client, text: str) -> None:
    """Runs actions on two numbered executors, each on the one that its digest names."""
    workers = set()
    for number in range(6):
        result = await client.run(["echo", text, str(number)], timeout=60)
        assert result.stdout.decode() == f"{text} {number}\n"
        assert result.worker == f"{EXECUTOR}-{owner(result.action_digest.hash, 2)}"
        workers.add(result.worker)
    assert workers == {f"{EXECUTOR}-0", f"{EXECUTOR}-1"}


async def test_F1_K5_S8_a_release_in_production_runs_actions_on_its_numbered_executors(
    chart: Chart, open_path: Path, postgresql_dsn: Dsn, s3_config: S3Config
) -> None:
    tls = TlsFolder(open_path / "certificates")
    blobs = PRODUCTION["storage"]["blobs"] | {
        "bucket": s3_config.bucket,
        "endpoint": s3_config.endpoint,
        "keyPrefix": s3_config.key_prefix,
    }
    values = {
        **PRODUCTION,
        "storage": {"state": PRODUCTION["storage"]["state"], "blobs": blobs},
        "frontend": {"cacheMaxSizeBytes": 1_000_000_000},
        "scheduler": {"placement": "modulo"},
        "executors": {"replicas": 2},
    }
    secrets = production_secrets(postgresql_dsn, s3_config, tls)
    cluster = Cluster(chart.render(values), open_path, secrets)
    with ExitStack() as stack:
        schedulers = [stack.enter_context(cluster.pod(SCHEDULER, number)) for number in (0, 1)]
        cluster.expose(f"{SCHEDULER}:8983", *schedulers)
        frontend = stack.enter_context(cluster.pod(FRONTEND, 0))
        cluster.expose(f"{NAME}:8980", frontend)
        executors = [stack.enter_context(cluster.pod(EXECUTOR, number)) for number in (0, 1)]
        for workload, pods in (
            (SCHEDULER, schedulers),
            (FRONTEND, [frontend]),
            (EXECUTOR, executors),
        ):
            for pod in pods:
                await asyncio.to_thread(cluster.check_probes, workload, pod)
        async with Client(
            f"grpcs://{frontend.grpc}",
            token=TOKENS["runner"],
            tls=tls.client(has_certificate=True),
            remembers_digests=False,
        ) as client:
            await run_on_each(client, "at first")
            # The scheduler that stands by is in the same Service.
            schedulers[0].kill()
            await run_on_each(client, "taken over")
        await asyncio.to_thread(fetch, frontend, "/cluster_healthz")


def demand(query: str, pods: list[ServerProcess]) -> float | None:
    """What Prometheus makes of the query of a ScaledObject, of such a form, from these pods."""
    read = re.fullmatch(
        r"\(sum\((\w+)\{(.*)\}\) \+ sum\((\w+)\{(.*)\}\)\) or \(0 \* sum\((\w+)\{(.*)\}\)\)", query
    )
    assert read is not None, query
    samples = [
        sample
        for pod in pods
        for family in text_string_to_metric_families(fetch(pod, "/metrics"))
        for sample in family.samples
    ]

    def total(name: str, matchers: str) -> float | None:
        # The namespace is a label that Prometheus adds.
        pattern = re.fullmatch(r'namespace="default"(?:,platform=~"(.*)")?', matchers)
        assert pattern is not None, matchers
        values = [
            sample.value
            for sample in samples
            if sample.name == name
            and re.fullmatch(pattern[1] or ".*", sample.labels.get("platform", ""))
        ]
        return sum(values) if values else None

    queued, executing = total(read[1], read[2]), total(read[3], read[4])
    idle = total(read[5], read[6])
    if queued is not None and executing is not None:
        return queued + executing
    return None if idle is None else 0 * idle


def pool_queries(manifests: list[dict[str, Any]]) -> Mapping[str, str]:
    """By the name of the StatefulSet that each scales."""
    return {
        name: one["spec"]["triggers"][0]["metadata"]["query"]
        for name, one in of_kind(manifests, "ScaledObject").items()
    }


async def test_K3_an_action_for_a_pool_without_executors_waits_and_asks_for_one(
    chart: Chart, open_path: Path
) -> None:
    # Whether bubblewrap works is this machine's affair.
    executors = POOLS["executors"] | {"sandbox": "auto"}
    manifests = chart.render({**POOLS, "executors": executors})
    queries = pool_queries(manifests)
    gpu = f"{EXECUTOR}-gpu"
    cluster = Cluster(manifests, open_path, {})
    with ExitStack() as stack:
        server = stack.enter_context(cluster.pod(f"{NAME}-server", 0))
        cluster.expose(f"{NAME}:8980", server)
        # Of a fleet that is not empty it is known what it can run.
        stack.enter_context(cluster.pod(EXECUTOR, 0))

        async def demands() -> dict[str, float | None]:
            return {
                name: await asyncio.to_thread(demand, query, [server])
                for name, query in queries.items()
            }

        assert await demands() == {EXECUTOR: 0, gpu: 0}
        async with Channel(server.grpc) as channel:
            system = System(ServerConfig(), server.grpc, channel, open_path)
            command = sh("echo made by a gpu", platform=Platform(properties=[GPU]))
            operations = system.stream(await system.add(command))
            await anext(operations)
            assert await demands() == {EXECUTOR: 0, gpu: 1}
            with cluster.pod(gpu, 0):
                *_, last = [one async for one in operations]
                response = response_of(last)
                assert response.result.execution_metadata.worker == f"{gpu}-0"
                assert await system.stdout(response) == "made by a gpu\n"
            assert await demands() == {EXECUTOR: 0, gpu: 0}


async def test_a_minimal_release_runs_actions(chart: Chart, open_path: Path) -> None:
    cluster = Cluster(chart.render(MINIMAL), open_path, {})
    with cluster.pod(f"{NAME}-server", 0) as server:
        cluster.expose(f"{NAME}:8980", server)
        cluster.check_probes(f"{NAME}-server", server)
        with cluster.pod(EXECUTOR, 0), cluster.pod(EXECUTOR, 1):
            async with Client(server.grpc, remembers_digests=False) as client:
                result = await client.run(["echo", "minimal"], timeout=60)
                workers = {worker.name for worker in await client.list_workers()}
    assert result.worker in workers
    assert workers == {f"{EXECUTOR}-0", f"{EXECUTOR}-1"}
