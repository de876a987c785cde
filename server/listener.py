"""How every process of this server serves gRPC: by which transport, and with which certificate."""

import logging
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge

from reapi.core.middleware import wrap
from reapi.core.rpc import Method, RpcServer
from reapi.core.rpc_metrics import RpcMetrics
from reapi.core.tls import ServerTls
from reapi.core.transport import choose_transport

from .server_section import ServerSection

logger = logging.getLogger(__name__)


class Listener:
    """Makes the gRPC servers of a process, and says in `registry` which transport they have.

    Raises InvalidArgument for a transport that is not installed, and for a certificate that cannot
    be used: make it before anything opens.
    """

    def __init__(self, section: ServerSection, registry: CollectorRegistry) -> None:
        self.transport = choose_transport(section.transport)
        files = section.tls_files()
        self._tls = None if files is None else ServerTls(files)
        self._section = section
        self._registry = registry
        Gauge(
            "reapi_rpc_transport",
            "1 for the transport that serves gRPC.",
            ("transport",),
            registry=registry,
        ).labels(self.transport).set(1)
        logger.info("gRPC is served by the transport %s", self.transport)

    @property
    def has_tls(self) -> bool:
        """Whether callers from outside must speak TLS."""
        return self._tls is not None

    def public(self, methods: Sequence[Method], *, shares_port: bool) -> RpcServer:
        """Serves callers from outside, at the address of the settings; counts and logs for them."""
        return RpcServer(
            wrap(methods, RpcMetrics(self._registry)),
            listen=self._section.listen,
            shares_port=shares_port,
            transport=self.transport,
            tls=self._tls,
        )

    def internal(self, methods: Sequence[Method], listen: str) -> RpcServer:
        """Serves the other processes of this server. What a frontend passes on to it was counted
        there already, so it is counted under another name."""
        metrics = RpcMetrics(self._registry, name="reapi_internal_rpc")
        return RpcServer(wrap(methods, metrics), listen=listen, transport=self.transport)
