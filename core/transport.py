"""Which transport carries gRPC: our own, where its extension is installed, or grpc.aio.

Both serve the same method table, and clients see no difference but speed (decision 16).
"""

import logging
from importlib import import_module
from typing import Literal

from .errors import InvalidArgument

logger = logging.getLogger(__name__)

Transport = Literal["native", "grpc.aio"]
TransportSetting = Literal["auto", "native", "grpc.aio"]

_PACKAGE = "reapi_transport"


def choose_transport(setting: TransportSetting) -> Transport:
    """What serves; raises InvalidArgument when `native` is wanted and cannot be imported.

    An extension that is there and cannot be imported is left out by `auto`, and logged.
    """
    if setting == "grpc.aio":
        return setting
    try:
        import_module(_PACKAGE)
    except ImportError as error:
        if setting == "native":
            raise InvalidArgument(
                'server.transport = "native" needs the distribution reapi-transport, which cannot '
                f"be imported ({error}): install it (`pip install ./transport`, with Rust), or set "
                'server.transport = "grpc.aio"'
            ) from error
        if not isinstance(error, ModuleNotFoundError):
            logger.warning("the native transport is left out: %s", error)
        return "grpc.aio"
    return "native"
