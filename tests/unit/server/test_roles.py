"""Which roles go together, and the words for those that do not."""

from typing import Any

import pytest

from reapi.core.errors import InvalidArgument
from reapi.server.config import ServerConfig
from reapi.server.roles import check_roles

ENDPOINT = {"scheduler": {"endpoint": "build-server:8980"}}


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
