"""Which instance names are served; one answer for all services (G6)."""

from .errors import InvalidArgument

_SHOWN_NAMES = 10


def check_instance_name(instance_name: str, served: frozenset[str]) -> None:
    """Raises InvalidArgument for a name that is not served.

    Not NotFound, which would look like a cache miss and make a build slow instead of wrong.
    """
    if instance_name in served:
        return
    names = ", ".join(repr(name) for name in sorted(served)[:_SHOWN_NAMES])
    raise InvalidArgument(
        f"no instance {instance_name[:200]!r} here; this server has {names}: "
        "check --remote_instance_name, REAPI_INSTANCE or the like"
    )
