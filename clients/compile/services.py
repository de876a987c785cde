"""The servers that the calls of a user mean, each connected once."""

from contextlib import AsyncExitStack

from reapi.clients.settings import Settings

from .service import Service


class Services:
    """Makes a Service for each server, instance and token; for one event loop."""

    def __init__(self, tool_name: str) -> None:
        self._tool_name = tool_name
        self._stack = AsyncExitStack()
        self._known: dict[Settings, Service] = {}

    async def of(self, settings: Settings) -> Service:
        """The service that settings mean; raises InvalidArgument when they cannot be right."""
        service = self._known.get(settings)
        if service is None:
            service = self._known[settings] = Service(settings, tool_name=self._tool_name)
            await self._stack.enter_async_context(service)
        return service

    async def close(self) -> None:
        """Closes all connections."""
        await self._stack.aclose()
