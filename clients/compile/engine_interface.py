"""What the daemon expects of that which answers calls."""

from typing import Protocol

from .model import Answer, Invocation


class Engine(Protocol):
    """Answers calls of compilers. For one event loop.

    InvalidArgument is a mistake in the user's settings and fails the call; any other exception lets
    the caller compile for itself, is logged and told of.
    """

    def answer_now(self, invocation: Invocation) -> Answer | None:
        """The answer, if it can be had without waiting for anything; None: `answer` has to wait."""

    async def answer(self, invocation: Invocation) -> Answer:
        """The answer, after as long as it takes. Cancelled when nobody waits for it any more."""
