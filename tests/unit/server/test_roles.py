"""Which roles go together, and the words for those that do not."""

from typing import Any

import pytest

from reapi.core.errors import InvalidArgument
from reapi.server.config import ServerConfig
from reapi.server.roles import check_roles

ENDPOINT = {"scheduler": {"endpoint": "build-server:8980"}}
POSTGRESQL = {"kind": "postgresql", "dsn_file": "dsn"}
S3 = {"kind": "s3", "bucket": "blobs"}


def _config(roles: str, **sections: Any) -> ServerConfig:
    return ServerConfig.model_validate({"server": {"roles": roles.split()}, **sections})


@pytest.mark.parametrize(
    ("roles", "sections"),
    [
        ("frontend scheduler executor", {}),
        ("frontend scheduler executor", ENDPOINT),
        ("frontend scheduler", {}),
        ("frontend", {}),
        ("executor", {}),
        ("executor", ENDPOINT),
    ],
)
def test_what_one_server_can_do_with_a_database_of_its_own(
    roles: str, sections: dict[str, Any]
) -> None:
    check_roles(_config(roles, **sections), is_storage_shared=False)
    check_roles(_config(roles, **sections), is_storage_shared=True)


@pytest.mark.parametrize(
    ("roles", "sections", "reason"),
    [
        ("scheduler", {}, "--role scheduler needs --role frontend in the same process"),
        ("frontend", ENDPOINT, "cannot serve the scheduler at build-server:8980"),
        ("frontend executor", ENDPOINT, "cannot serve the scheduler at build-server:8980"),
    ],
)
def test_what_needs_a_database_that_all_share(
    roles: str, sections: dict[str, Any], reason: str
) -> None:
    config = _config(roles, **sections)
    with pytest.raises(InvalidArgument, match=reason):
        check_roles(config, is_storage_shared=False)
    check_roles(config, is_storage_shared=True)


def test_a_scheduler_with_an_executor_on_the_storage_itself_needs_no_frontend() -> None:
    storage = {"state": POSTGRESQL, "blobs": S3}
    config = _config("scheduler executor", storage=storage, executor={"storage": "direct"})
    check_roles(config, is_storage_shared=config.storage.is_shared)


@pytest.mark.parametrize("storage", [{}, {"state": POSTGRESQL}, {"blobs": S3}])
def test_a_storage_of_which_a_part_lies_in_the_data_directory_is_not_shared(
    storage: dict[str, Any],
) -> None:
    assert not _config("frontend", storage=storage).storage.is_shared
    whole = {"state": POSTGRESQL, "blobs": S3}
    assert _config("frontend", storage=whole).storage.is_shared


def test_an_executor_with_several_schedulers_is_told_where_its_blobs_are() -> None:
    several = {"scheduler": {"endpoint": "one:1,other:1"}}
    with pytest.raises(InvalidArgument, match=r"set executor\.frontend_endpoint"):
        check_roles(_config("executor", **several), is_storage_shared=True)
    config = _config("executor", **several, executor={"frontend_endpoint": "frontend:1"})
    check_roles(config, is_storage_shared=True)


def test_a_frontend_may_have_shards_where_the_storage_is_shared() -> None:
    config = _config("frontend", scheduler={"shards": [{"name": "a", "endpoint": "b:1"}]})
    check_roles(config, is_storage_shared=True)
    with pytest.raises(InvalidArgument, match="cannot serve the scheduler at b:1"):
        check_roles(config, is_storage_shared=False)


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        ("", "server.roles is empty"),
        ("frontend executor", "set scheduler.endpoint"),
        ("scheduler executor", "set executor.frontend_endpoint"),
    ],
)
def test_what_lacks_an_address_says_which(roles: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        check_roles(_config(roles), is_storage_shared=True)
