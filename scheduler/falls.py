"""Which accounts have begun to run less: read by each lane when its turn comes.

An invocation may wait in hundreds of lanes. When something of it ends, none of them is told.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .accounts import Invocation

_KEPT = 1024


class Falls:
    """A log of the latest falls, counted from the first one on; `last` is the account of that."""

    __slots__ = ("_accounts", "_forgotten", "count", "last")

    def __init__(self) -> None:
        self.count = 0
        self.last: Invocation | None = None
        self._accounts: list[Invocation] = []
        self._forgotten = 0

    def add(self, account: "Invocation") -> None:
        """What an invocation runs, and its tenant, is one less."""
        self.count += 1
        self.last = account
        self._accounts.append(account)
        if len(self._accounts) > 2 * _KEPT:
            del self._accounts[:_KEPT]
            self._forgotten += _KEPT

    def since(self, count: int) -> "dict[Invocation, None] | None":
        """Those of the falls after the first `count`, each once; None if that is not known."""
        if count < self._forgotten:
            return None
        return dict.fromkeys(self._accounts[count - self._forgotten :])
