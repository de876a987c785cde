"""Names of operations: `operations/UUID`, and `operations/SHARD/UUID` where there are shards."""

import re
import uuid

SHARD_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
"""As host names are."""

_NAME = re.compile(
    rf"operations/({SHARD_NAME.pattern}/)?"
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    re.ASCII,
)


def new_name(shard_name: str) -> str:
    """One that was never used."""
    prefix = f"operations/{shard_name}/" if shard_name else "operations/"
    return f"{prefix}{uuid.uuid4()}"


def is_name(name: str) -> bool:
    """Whether some scheduler may have given it."""
    return _NAME.fullmatch(name) is not None


def shard_of(name: str) -> str:
    """The shard whose scheduler gave the name, "" for one that does not say so."""
    _, _, rest = name.partition("/")
    shard, separator, _ = rest.partition("/")
    return shard if separator else ""
