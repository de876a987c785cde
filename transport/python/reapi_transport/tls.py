"""TLS of a listener whose certificates may change while it listens."""

import ssl
from collections.abc import Callable
from typing import Any, Self

MakeContext = Callable[[], ssl.SSLContext]


class RenewedContext(ssl.SSLContext):
    """Asks for a context anew for each connection, and has it offer HTTP/2.

    asyncio calls nothing of a context but `wrap_bio`. A context that cannot be made, such as one of
    a half-written file, ends that connection alone.
    """

    _make: MakeContext

    def __new__(cls, make: MakeContext) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context._make = make
        return context

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        context = self._make()
        context.set_alpn_protocols(["h2"])
        return context.wrap_bio(*arguments, **options)
