"""Settings are checked before anything opens, and every mistake is named by its key."""

import re
from pathlib import Path

import pytest

from reapi.cas.objects.s3_config import S3Config
from reapi.core.errors import InvalidArgument
from reapi.executor.limits import Limits
from reapi.scheduler.policy import Policy
from reapi.scheduler.policy_of_config import policy_of
from reapi.server.config import BlobsSection, InstanceSection, ServerConfig, load_config
from reapi.server.executor_section import ExecutorSection
from reapi.server.scheduler_config import scheduler_config
from reapi.server.scheduler_section import ShardSection


def _write(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text)
    return file


def test_defaults_serve_everything_on_loopback() -> None:
    config = load_config(None, {})
    assert config.server.listen == "127.0.0.1:8980"
    assert config.server.roles == ("frontend", "scheduler", "executor")
    assert config.executor.slots >= 2


def test_a_file_is_overlaid_by_the_environment_and_both_by_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _write(
        tmp_path,
        '[server]\nlisten = "127.0.0.1:1"\nhttp_listen = "127.0.0.1:1"\n'
        "[storage]\nretention_seconds = 1\n",
    )
    monkeypatch.setenv("REAPI_SERVER__LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("REAPI_SERVER__HTTP_LISTEN", "127.0.0.1:2")
    config = load_config(file, {"server": {"http_listen": "127.0.0.1:3"}})
    assert config.server.listen == "127.0.0.1:2"
    assert config.server.http_listen == "127.0.0.1:3"
    assert config.storage.retention_seconds == 1


def test_an_instance_may_have_a_section_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _write(tmp_path, '[instances.""]\ndigest_function = "SHA256TREE"\n')
    monkeypatch.setenv("REAPI_INSTANCES__MAIN", '{"digest_function": "BLAKE3"}')
    instances = load_config(file, {}).instances
    assert {name: section.digest_function for name, section in instances.items()} == {
        "": "SHA256TREE",
        "main": "BLAKE3",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[storage]\nmax_size = 3\n", "storage.max_size: there is no such key"),
        ("retention = 3\n", "retention: there is no such key"),
        ('[storage]\nretention_seconds = "x"\n', "storage.retention_seconds: "),
        ("[executor]\nslots = 0\n", "executor.slots: Input should be greater than 0, not 0"),
        ('[server]\nroles = ["cook"]\n', "server.roles.0: "),
        ("[storage]\nhigh_watermark = 0.8\n", "storage: low_watermark is above high_watermark"),
        ("[instances.main]\nmax_size_bytes = 0\n", "instances.main.max_size_bytes: "),
        (
            '[instances.main]\nresults_since = "2026-11-01T00:00:00"\n',
            "instances.main.results_since: Input should have timezone info",
        ),
        (
            "[instances.mian]\n",
            "instances: server.instance_names does not have 'mian'",
        ),
        (
            '[instances.main]\ndigest_function = "MD5"\n',
            "instances.main.digest_function: Input should be 'SHA256', 'BLAKE3' or 'SHA256TREE'",
        ),
        ("[instances.main]\nquota = 1\n", "instances.main.quota: there is no such key"),
        (
            '[scheduler]\nplacement = "modulo"\n',
            'scheduler: placement = "modulo" needs expected_workers: set it to the number',
        ),
        (
            '[scheduler]\nplacement = "modulo"\nexpected_workers = 2\n'
            '[executor]\nworker_id = "builder"\n',
            'executor: scheduler.placement = "modulo" needs the ordinal of each worker: set',
        ),
        (
            '[scheduler]\nplacement = "modulo"\nexpected_workers = 2\n'
            '[executor]\nworker_id = "builder-2"\n',
            "executor: ordinal 2 is not below scheduler.expected_workers = 2: ordinals begin at 0",
        ),
        (
            "[scheduler]\nhedge_percent = 50\n",
            "scheduler: hedge_percent of 50 would run every action twice: set it above 100",
        ),
        ("[scheduler]\nload_percent = 99\n", "scheduler.load_percent: "),
        (
            '[scheduler.fleet_resources]\ncpu = "4"\n',
            "scheduler.fleet_resources: cpu is a worker's: set it in executor.resources",
        ),
        (
            '[[scheduler.pools]]\nresources = {memory = "4GB"}\n',
            "scheduler.pools.0.resources: memory = '4GB' cannot be read: give bytes such as",
        ),
        ("[scheduler.tenants.a]\nweight = 0\n", "scheduler.tenants.a.weight: "),
        (
            "[executor.resources]\ngpu = 0.5\n",
            "executor.resources: gpu = '0.5' cannot be read: give a whole number",
        ),
        (
            '[instances.main.platform]\nset = {a = "1"}\nadd = {a = "2"}\n',
            "instances.main.platform: a is in both set and add: leave it in set",
        ),
        (
            '[instances.main.platform]\nremove = ["a"]\nrename = {a = "b"}\n',
            "instances.main.platform: a is in both remove and rename: leave it in one",
        ),
        (
            '[instances.main.platform]\nadd = {"" = "2"}\n',
            "instances.main.platform: a name is empty: properties have names",
        ),
        (
            '[instances.main.platform]\nadd = {"resource.cpu" = "x"}\n',
            "instances.main.platform: cpu = 'x' cannot be read",
        ),
        ('[scheduler]\nshard_name = "A/B"\n', "scheduler.shard_name: "),
        ('[[scheduler.shards]]\nname = ""\nendpoint = "a:1"\n', "scheduler.shards.0.name: "),
        (
            "[scheduler]\n"
            'shards = [{ name = "a", endpoint = "b:1" }, { name = "a", endpoint = "c:1" }]\n',
            "scheduler.shards: two of them have the same name",
        ),
        ('[server]\ntls_key_file = "a"\n', "server: tls_certificate_file and tls_key_file belong"),
        (
            '[server]\ntls_client_ca_file = "a"\n',
            "server: tls_client_ca_file needs tls_certificate_file",
        ),
        ('[server]\nlisten = "unix:here"\n', "server: listen: 'unix:here': write a socket as"),
        ('[server]\nlisten = "unix:/a"\nprocesses = 2\n', "server: processes share a port"),
        (
            '[server]\nlisten = "unix:/a"\ntls_certificate_file = "a"\ntls_key_file = "b"\n',
            "server: tls_certificate_file is for HOST:PORT",
        ),
        (
            '[connections]\ntls_client_key_file = "a"\n',
            "connections: tls_client_certificate_file and tls_client_key_file belong together",
        ),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_config(_write(tmp_path, text), {})
    assert expected in caught.value.message


def test_a_transport_that_there_is_not_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REAPI_SERVER__TRANSPORT", raising=False)  # tests/conftest.py sets it
    with pytest.raises(InvalidArgument, match=r"server\.transport: "):
        load_config(_write(tmp_path, '[server]\ntransport = "fast"\n'), {})


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_config(_write(tmp_path, "one = 1\ntwo = 2\n"), {})
    assert "one: " in caught.value.message
    assert "two: " in caught.value.message


def test_a_file_that_is_not_toml_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"config\.toml"):
        load_config(_write(tmp_path, "= ="), {})


def test_a_file_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"nowhere\.toml"):
        load_config(tmp_path / "nowhere.toml", {})


def test_lists_and_tables_in_the_environment_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPI_EXECUTOR__PLATFORM", '{"OSFamily": "linux"}')
    monkeypatch.setenv("REAPI_SERVER__INSTANCE_NAMES", '["main"]')
    config = load_config(None, {})
    assert config.executor.platform == {"OSFamily": "linux"}
    assert config.server.instance_names == ("main",)


def test_a_list_in_the_environment_that_is_not_json_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REAPI_SERVER__INSTANCE_NAMES", "[main]")
    with pytest.raises(InvalidArgument, match="REAPI_SERVER__INSTANCE_NAMES is not JSON"):
        load_config(None, {})


def test_a_section_within_a_section_is_overlaid_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _write(tmp_path, '[storage.state]\nkind = "postgresql"\ndsn_file = "one"\n')
    monkeypatch.setenv("REAPI_STORAGE__STATE__DSN_FILE", "two")
    state = load_config(file, {}).storage.state
    assert (state.kind, state.dsn_file) == ("postgresql", Path("two"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('kind = "postgresql"', "storage.state: dsn_file is needed"),
        ('dsn_file = "somewhere"', "storage.state: dsn_file needs"),
        ('kind = "oracle"', "storage.state.kind: "),
    ],
)
def test_a_state_that_cannot_be_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_config(_write(tmp_path, f"[storage.state]\n{text}\n"), {})
    assert expected in caught.value.message


_POSTGRESQL = '[storage.state]\nkind = "postgresql"\ndsn_file = "dsn"\n'
_S3 = '[storage.blobs]\nkind = "s3"\nbucket = "blobs"\n'


@pytest.mark.parametrize("text", ["", _POSTGRESQL, _S3])
def test_an_executor_on_a_storage_that_it_cannot_share_is_refused(
    tmp_path: Path, text: str
) -> None:
    direct = '[executor]\nstorage = "direct"\n'
    with pytest.raises(InvalidArgument) as caught:
        load_config(_write(tmp_path, text + direct), {})
    assert (
        'executor: storage = "direct" needs storage.state.kind = "postgresql" and '
        'storage.blobs.kind = "s3"'
    ) in caught.value.message
    config = load_config(_write(tmp_path, _POSTGRESQL + _S3 + direct), {})
    assert config.executor.storage == "direct"


def test_an_executor_has_its_blobs_from_one_place(tmp_path: Path) -> None:
    both = '[executor]\nstorage = "direct"\nfrontend_endpoint = "build-server:8980"\n'
    with pytest.raises(InvalidArgument, match="frontend_endpoint is not used"):
        load_config(_write(tmp_path, _POSTGRESQL + _S3 + both), {})


def test_limits_of_actions_are_read_as_amounts(tmp_path: Path) -> None:
    assert load_config(None, {}).executor.limits.limits() == Limits()
    text = '[executor.limits]\nmemory = "4Gi"\ncpu = 1.5\nprocesses = 100\n'
    limits = load_config(_write(tmp_path, text), {}).executor.limits.limits()
    assert (limits.memory_bytes, limits.cpu_milli, limits.processes) == (4 << 30, 1500, 100)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("memory = 0", "executor.limits.memory: 0 would let nothing run"),
        ('cpu = "fast"', "executor.limits.cpu: cpu = 'fast' cannot be read: give cores"),
        ("disk = 1", "executor.limits.disk"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        load_config(_write(tmp_path, f"[executor.limits]\n{line}\n"), {})


def test_the_settings_of_the_client_are_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAPI_SERVER", "build-server:8980")
    monkeypatch.setenv("REAPI_INSTANCE", "main")
    assert load_config(None, {}).server.listen == "127.0.0.1:8980"


def test_the_documented_configuration_is_complete_and_says_the_defaults(tmp_path: Path) -> None:
    document = Path(__file__).parents[3] / "docs" / "configuration.md"
    block = document.read_text().split("```toml\n")[1].split("```")[0]
    documented = load_config(_write(tmp_path, block), {})
    defaults = load_config(None, {})
    assert documented == defaults
    sections = (
        *(defaults.server, defaults.storage, defaults.storage.blobs, defaults.storage.state),
        *(defaults.results, defaults.scheduler, defaults.executor, defaults.executor.limits),
        *(defaults.auth, defaults.connections),
    )
    for section in (*map(type, sections), InstanceSection, ShardSection):
        for key in section.model_fields:
            assert re.search(rf"^(# )?(\[*\w+\.)?{key}\b", block, re.MULTILINE), key


def test_the_other_documented_settings_are_valid(tmp_path: Path) -> None:
    document = Path(__file__).parents[3] / "docs" / "configuration.md"
    (block,) = (
        one.split("```")[0]
        for one in document.read_text().split("```toml\n")[2:]
        if "[[scheduler.pools]]" in one.split("```")[0]
    )
    config = scheduler_config(load_config(_write(tmp_path, block), {}))
    assert config.fleet_resources == (("licence-synopsys", 20),)
    assert config.pools[0][1] == (("cpu", 16000), ("gpu", 1), ("memory", 64 << 30))


def test_the_documented_keys_of_a_bucket_say_the_defaults(tmp_path: Path) -> None:
    document = Path(__file__).parents[3] / "docs" / "configuration.md"
    block = document.read_text().split("[storage.blobs]")[1].split("\n\n")[0]
    keys = re.findall(r"^# (\w+ = .*)$", block, re.MULTILINE)
    assert len(keys) == 8
    text = "\n".join(key for key in keys if "FILE" not in key).replace('bucket = ""', "")
    blobs = load_config(
        _write(tmp_path, f'[storage.blobs]\nkind = "s3"\nbucket = "one"\n{text}'), {}
    ).storage.blobs
    assert blobs == BlobsSection(kind="s3", bucket="one")


@pytest.mark.parametrize(
    "blobs",
    [
        "",
        '[storage.blobs]\nkind = "s3"\nbucket = "one"\n',
        '[[scheduler.shards]]\nname = "a"\nendpoint = "host:1"\nplatform = { ISA = "arm" }\n',
    ],
)
def test_a_child_process_is_given_the_same_settings(tmp_path: Path, blobs: str) -> None:
    config = load_config(_write(tmp_path, blobs), {})
    assert ServerConfig.model_validate_json(config.model_dump_json()) == config


def test_a_table_within_a_section_is_overlaid_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _write(tmp_path, '[storage.blobs]\nkind = "s3"\nbucket = "one"\nregion = "two"\n')
    monkeypatch.setenv("REAPI_STORAGE__BLOBS__BUCKET", "other")
    monkeypatch.setenv("REAPI_STORAGE__BLOBS__USE_SSL", "false")
    blobs = load_config(file, {}).storage.blobs
    assert (blobs.bucket, blobs.region, blobs.use_ssl) == ("other", "two", False)
    assert blobs.s3() == S3Config("other", region="two", use_ssl=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('bucket = "one"', 'storage.blobs: bucket: only for a bucket: set kind = "s3", or remove'),
        ('kind = "s3"', 'storage.blobs: kind = "s3" needs a bucket: set bucket to its name'),
        ('kind = "s3"\nbucket = "A"', "storage.blobs: bucket: 'A' is no name of a bucket"),
        (
            'kind = "s3"\nbucket = "one"\nendpoint = "http://minio:9000"',
            'endpoint = "minio:9000" and use_ssl = false',
        ),
        ('kind = "gcs"', "storage.blobs.kind: "),
    ],
)
def test_a_bucket_that_cannot_be_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load_config(_write(tmp_path, f"[storage.blobs]\n{text}\n"), {})
    assert expected in caught.value.message


def test_the_scheduler_gets_pools_tenants_and_rewritings_as_plain_values(tmp_path: Path) -> None:
    file = _write(
        tmp_path,
        "[scheduler.tenants.main]\nweight = 3\nmax_running = 5\n"
        '[[scheduler.pools]]\nplatform = {ISA = "arm"}\nresources = {cpu = 4, memory = "8Gi"}\n'
        "[scheduler.fleet_resources]\nlicence = 2\n"
        '[instances.main.platform]\nremove = ["dockerNetwork"]\n',
    )
    config = scheduler_config(load_config(file, {}))
    assert config.tenants == (("main", 3, 5, 0),)
    assert config.pools == (((("ISA", "arm"),), (("cpu", 4000), ("memory", 8 << 30))),)
    assert config.fleet_resources == (("licence", 2),)
    assert config.platform_rewritings["main"].remove == {"dockerNetwork"}
    policy = policy_of(config, Policy(expected_workers=7))
    assert policy.tenants == config.tenants
    assert policy.expected_workers == 7
    assert policy.preferred_wait == 50_000


def test_a_policy_of_the_settings_alone_is_the_default_one() -> None:
    assert policy_of(scheduler_config(load_config(None, {})), Policy()) == Policy()


@pytest.mark.parametrize(
    ("worker_id", "ordinal", "number"),
    [("builder-3", None, 3), ("builder-3", 0, 0), ("builder", None, None), ("7", None, 7)],
)
def test_the_ordinal_is_set_or_the_number_that_ends_the_worker_id(
    worker_id: str, ordinal: int | None, number: int | None
) -> None:
    assert ExecutorSection(worker_id=worker_id, ordinal=ordinal).number() == number


def test_a_worker_offers_what_the_machine_has_unless_it_is_set() -> None:
    offered = dict(
        ExecutorSection.model_validate({"resources": {"memory": "1Gi", "gpu": 1}}).offered()
    )
    assert offered.keys() == {"cpu", "memory", "gpu"}
    assert offered["memory"] == 1 << 30
    assert offered["cpu"] >= 1000
