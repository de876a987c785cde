"""Who calls, and what that one may do: roles are named by operators, permissions asked by rules."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .errors import PermissionDenied


class Permission(Enum):
    """What one may do; the values stand in the refusals."""

    READ = "read blobs and results"
    WRITE_BLOBS = "store blobs"
    EXECUTE = "execute actions"
    WRITE_RESULTS = "store results"
    WORK = "run actions as a worker"
    OPERATE = "operate the server"


RoleName = Literal["reader", "runner", "writer", "executor", "operator"]

ROLES: dict[RoleName, frozenset[Permission]] = {
    # Takes what others have made.
    "reader": frozenset({Permission.READ}),
    # Has actions executed: the results that these leave are the executors' word, not its own.
    "runner": frozenset({Permission.READ, Permission.WRITE_BLOBS, Permission.EXECUTE}),
    # Everybody believes the results that it says it has made.
    "writer": frozenset(
        {Permission.READ, Permission.WRITE_BLOBS, Permission.EXECUTE, Permission.WRITE_RESULTS}
    ),
    # Is leased everybody's actions, and believed what they made.
    "executor": frozenset({Permission.READ, Permission.WRITE_BLOBS, Permission.WORK}),
    # Drains workers, cancels operations, revokes results.
    "operator": frozenset({Permission.READ, Permission.OPERATE}),
}

_ADVICE = {
    Permission.WRITE_RESULTS: (
        "; or store none: read_only = true below [compile] of reapi.toml, "
        "--noremote_upload_local_results with Bazel"
    ),
}


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who calls. Without `instance_names` it may do so in all instances.

    `name` is the operator's word for it: "" for all callers of a server that asks for no tokens.
    """

    name: str
    roles: tuple[RoleName, ...]
    instance_names: frozenset[str] | None = None

    def may(self, permission: Permission) -> bool:
        """Whether one of its roles has the permission."""
        return any(permission in ROLES[role] for role in self.roles)

    def check(self, permissions: Collection[Permission]) -> None:
        """Raises PermissionDenied unless it has one of these, with what to do about it."""
        if any(self.may(permission) for permission in permissions):
            return
        wanted = next(iter(permissions))
        able = [role for role, granted in ROLES.items() if granted & set(permissions)]
        raise PermissionDenied(
            f"{self} may not {wanted.value}: use a token with the role {' or '.join(able)}"
            f"{_ADVICE.get(wanted, '')}"
        )

    def check_instance(self, instance_name: str | None) -> None:
        """Raises PermissionDenied for an instance that is not its own; None means all of them."""
        if self.instance_names is None or instance_name in self.instance_names:
            return
        what = "all instances" if instance_name is None else f"instance {instance_name[:200]!r}"
        own = ", ".join(repr(name) for name in sorted(self.instance_names))
        raise PermissionDenied(f"{self} may not use {what}: its token is for {own}")

    def __str__(self) -> str:
        roles = ", ".join(self.roles) or "no role"
        return f"{self.name or 'everybody'} ({roles})"


EVERYBODY = Identity("", tuple(ROLES))
"""All callers of a server that asks nobody who it is."""
