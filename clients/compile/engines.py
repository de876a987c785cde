"""The engine that a call means: one for each digest function that a user's projects have."""

from collections.abc import Callable

from reapi.core.digest import DigestFunction, function_named

from .engine import CompileEngine
from .model import Answer, Invocation
from .settings import SettingsOfCalls


class Engines:
    """Makes engines as they are needed, each once; an async context manager, for one event loop.

    Raises InvalidArgument for a call whose settings are wrong.
    """

    def __init__(self, make: Callable[[DigestFunction], CompileEngine]) -> None:
        self._make = make
        self._settings = SettingsOfCalls()
        self._engines: dict[str, CompileEngine] = {}

    async def __aenter__(self) -> "Engines":
        return self

    async def __aexit__(self, *_: object) -> None:
        for engine in self._engines.values():
            await engine.close()

    def of(self, invocation: Invocation) -> CompileEngine:
        """The engine of a call."""
        directory, environment = invocation.working_directory, invocation.environment
        name = self._settings.get(directory, environment).connection.digest_function
        engine = self._engines.get(name)
        if engine is None:
            engine = self._engines[name] = self._make(function_named(name))
        return engine

    def answer_now(self, invocation: Invocation) -> Answer | None:
        """See CompileEngine."""
        return self.of(invocation).answer_now(invocation)

    async def answer(self, invocation: Invocation) -> Answer:
        """See CompileEngine."""
        return await self.of(invocation).answer(invocation)
