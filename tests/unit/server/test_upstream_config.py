"""Settings of an edge frontend: what belongs together, and the words for what does not."""

from pathlib import Path

import pytest

from reapi.core.errors import InvalidArgument
from reapi.server.config import ServerConfig, load_config
from reapi.server.storage_config import storage_config

EDGE = '[server]\nroles = ["frontend"]\n'
ONE = '[upstream]\nservers = [{endpoint = "a:1"}]\n'
TWO = '[upstream]\nservers = [{endpoint = "a:1"}, {endpoint = "b:1"}]\n'


def _load(folder: Path, text: str) -> ServerConfig:
    file = folder / "config.toml"
    file.write_text(text)
    return load_config(file, {})


@pytest.mark.parametrize(
    "text",
    [
        ONE,
        TWO + 'combine = "mirror"\n',
        TWO + 'combine = "shard"\n',
        '[upstream]\nservers = [{endpoint = "a:1"}, {endpoint = "b:1", weight = 2.5, name = "b"}]\n'
        'combine = "shard"\ninstance_name = "other"\nwrite_back_max_bytes = 1000\n',
    ],
)
def test_what_an_edge_frontend_may_have(tmp_path: Path, text: str) -> None:
    assert _load(tmp_path, EDGE + text).storage_dir == Path("reapi-data/cache")


@pytest.mark.parametrize(("text", "is_cache"), [("", False), (ONE, True)])
def test_the_storage_of_an_edge_frontend_is_a_cache(
    tmp_path: Path, text: str, is_cache: bool
) -> None:
    assert storage_config(_load(tmp_path, EDGE + text)).is_cache is is_cache


def test_a_shard_is_named_by_its_endpoint_unless_it_has_a_name(tmp_path: Path) -> None:
    text = TWO.replace('"b:1"', '"b:1", name = "old:1"') + 'combine = "shard"\n'
    upstream = _load(tmp_path, EDGE + text).upstream
    assert upstream is not None
    assert [server.shard_name for server in upstream.servers] == ["a:1", "old:1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE, "upstream: an edge frontend has no other role"),
        ('[server]\nroles = ["frontend", "executor"]\n' + ONE, "no other role"),
        (EDGE + "[upstream]\nservers = []\n", "upstream.servers: "),
        (EDGE + "[upstream]\n", "upstream.servers: Field required"),
        (EDGE + ONE.replace("a:1", "a"), "upstream.servers.0.endpoint: server 'a' has no port"),
        (EDGE + ONE.replace('"a:1"', '"a:1", weight = 0'), "upstream.servers.0.weight: "),
        (EDGE + ONE.replace('"a:1"', '"a:1", weight = 2'), "upstream: weight is for"),
        (EDGE + ONE + 'combine = "shard"\n', "upstream: combine is for several servers"),
        (EDGE + TWO, "upstream: several servers need combine"),
        (EDGE + TWO + 'combine = "raid"\n', "upstream.combine: "),
        (
            EDGE + TWO.replace("b:1", "a:1") + 'combine = "mirror"\n',
            "upstream: servers must differ",
        ),
        (
            EDGE + TWO.replace('"b:1"', '"b:1", name = "a:1"') + 'combine = "shard"\n',
            "upstream: servers must differ",
        ),
        (
            EDGE
            + '[upstream]\nservers = [{endpoint = "a:1"}, {endpoint = "b:1"}, {endpoint = "c:1"}]\n'
            + 'combine = "mirror"\n',
            'upstream: combine = "mirror" takes two servers, not 3',
        ),
        (EDGE + ONE + "retries = 1\n", "upstream.retries: there is no such key"),
        (
            EDGE
            + ONE
            + '[storage.blobs]\nkind = "s3"\nbucket = "blobs"\n[results]\nttl_seconds = 1\n',
            "upstream: storage.blobs.kind, results.ttl_seconds: leave out what is the upstream's",
        ),
        (
            EDGE + ONE + '[scheduler]\nendpoint = "a:1"\n[instances.main]\nmax_size_bytes = 1\n',
            "upstream: scheduler.endpoint, instances.'main'.max_size_bytes: leave out",
        ),
        (
            EDGE + "processes = 2\n" + ONE + "write_back_max_bytes = 1\n",
            "upstream: write_back_max_bytes needs server.processes = 1",
        ),
        (
            EDGE + ONE + "write_back_max_bytes = 6\n[storage]\nmax_size_bytes = 10\n",
            "upstream: write_back_max_bytes is above half of storage.max_size_bytes",
        ),
    ],
)
def test_what_does_not_belong_together_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        _load(tmp_path, text)
    assert expected in caught.value.message
