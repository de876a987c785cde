"""Who pays for executions: tenants and their invocations, with what they run and what they queue.

An account exists while something of it is live. Nothing is ordered here; see order.py.
"""

from typing import TYPE_CHECKING, Any

from .falls import Falls
from .model import Execution
from .policy import Policy, TenantRow

if TYPE_CHECKING:
    from .lane import Lane
    from .line import Line
    from .order import Branch, Order
    from .roster import Bundle, Roster


class Tenant:
    """One tenant. `turn` is when it had its last lease, in the count of all turns."""

    __slots__ = (
        "branches",
        "max_queued",
        "max_running",
        "name",
        "queued",
        "running",
        "turn",
        "weight",
    )

    def __init__(self, name: str, turn: int) -> None:
        self.name = name
        self.turn = turn
        self.running = 0
        self.queued = 0
        self.weight = 1
        self.max_running = 0
        self.max_queued = 0
        self.branches: dict[Order[Any], Branch[Any]] = {}

    @property
    def is_at_cap(self) -> bool:
        """Whether no more of it may run."""
        return 0 < self.max_running <= self.running


class Invocation:
    """One invocation of a tenant; the executions of callers that name none are one, too."""

    __slots__ = ("bundles", "lines", "max_running", "name", "queued", "running", "tenant", "turn")

    def __init__(self, tenant: Tenant, name: str, turn: int, max_running: int) -> None:
        self.tenant = tenant
        self.name = name
        self.turn = turn
        self.running = 0
        self.queued = 0
        self.max_running = max_running
        self.lines: dict[Lane, Line] = {}
        self.bundles: dict[Roster, Bundle] = {}

    @property
    def is_at_cap(self) -> bool:
        """Whether no more of it may run, be it for its own cap or that of its tenant."""
        return 0 < self.max_running <= self.running or self.tenant.is_at_cap


class Accounts:
    """All accounts of live executions, and the count of turns."""

    def __init__(self, policy: Policy, former: "Accounts | None" = None) -> None:
        """Starts without any. One that `former` had keeps its turn when it is opened again."""
        self.tenants: dict[str, Tenant] = {}
        self.invocations: dict[tuple[str, str], Invocation] = {}
        self.turns = 0
        self.falls = Falls()
        self._policy = policy
        self._rows = {row[0]: row for row in policy.tenants}
        if former is not None:
            self.turns = former.turns
            for one in former.invocations.values():
                self._add(one.tenant.name, one.name, one.tenant.turn, one.turn)

    def row(self, tenant: str) -> TenantRow:
        """What the policy says of a tenant."""
        return self._rows.get(tenant) or self._rows.get("") or (tenant, 1, 0, 0)

    def open(self, tenant_name: str, name: str) -> Invocation:
        """The account of an invocation, new ones at the end of those whose turn comes."""
        invocation = self.invocations.get((tenant_name, name))
        if invocation is None:
            self.turns += 1
            invocation = self._add(tenant_name, name, self.turns, self.turns)
        return invocation

    def _add(self, tenant_name: str, name: str, tenant_turn: int, turn: int) -> Invocation:
        tenant = self.tenants.get(tenant_name)
        if tenant is None:
            tenant = self.tenants[tenant_name] = Tenant(tenant_name, tenant_turn)
            _, tenant.weight, tenant.max_running, tenant.max_queued = self.row(tenant_name)
        most = self._policy.max_running_per_invocation
        invocation = self.invocations[tenant_name, name] = Invocation(tenant, name, turn, most)
        return invocation

    def queue(self, execution: Execution) -> None:
        """Counts an execution among those that wait."""
        account = execution.account
        account.queued += 1
        account.tenant.queued += 1

    def start(self, execution: Execution) -> None:
        """A waiting execution gets a lease: its accounts have had their turn."""
        account = execution.account
        tenant = account.tenant
        account.queued -= 1
        tenant.queued -= 1
        account.running += 1
        tenant.running += 1
        self.turns += 1
        account.turn = tenant.turn = self.turns

    def stop(self, execution: Execution) -> bool:
        """A running execution ends or waits again; whether a cap was in the way of others."""
        account = execution.account
        tenant = account.tenant
        was_at_cap = account.is_at_cap
        account.running -= 1
        tenant.running -= 1
        self.falls.add(account)
        return was_at_cap

    def unqueue(self, execution: Execution) -> None:
        """A waiting execution ends."""
        execution.account.queued -= 1
        execution.account.tenant.queued -= 1

    def close(self, account: Invocation) -> None:
        """Forgets accounts of which nothing is live any more."""
        if not account.queued and not account.running:
            tenant = account.tenant
            del self.invocations[tenant.name, account.name]
            if not tenant.queued and not tenant.running:
                del self.tenants[tenant.name]

    def rows(self) -> list[tuple[str, str, int, int]]:
        """What a snapshot keeps: the turns of all accounts. The numbers follow from executions."""
        return [
            (one.tenant.name, one.name, one.tenant.turn, one.turn)
            for one in self.invocations.values()
        ]

    def restore(self, turns: int, rows: list[tuple[str, str, int, int]]) -> None:
        """Opens the accounts of a snapshot."""
        self.turns = turns
        for tenant_name, name, tenant_turn, turn in rows:
            self._add(tenant_name, name, tenant_turn, turn)
