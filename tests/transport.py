"""Which transport the servers of tests have: what REAPI_TEST_TRANSPORT says, else "auto"."""

import os
from typing import Any

from reapi.core.rpc import RpcServer
from reapi.core.transport import Transport, choose_transport

SETTING: Any = os.environ.get("REAPI_TEST_TRANSPORT", "auto")


def chosen() -> Transport:
    """Raises InvalidArgument when the environment asks for what is not installed."""
    return choose_transport(SETTING)


def environment() -> dict[str, str]:
    """For processes that read the server's settings."""
    return {"REAPI_SERVER__TRANSPORT": SETTING}


def rpc_server(methods: Any, *, listen: str = "127.0.0.1:0", **more: Any) -> RpcServer:
    """A server of these methods in this process, on a free port unless `listen` says another."""
    return RpcServer(methods, listen=listen, transport=chosen(), **more)
