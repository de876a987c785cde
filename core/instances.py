"""Which instances are served and what is special about each; one answer for all services (G6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reapi.protos.build.bazel.remote.execution.v2 import remote_execution_pb2 as re_pb2

from .digest import (
    SHA256,
    Digest,
    DigestFunction,
    functions_led_by,
    parse_digest,
    parse_function,
)
from .errors import InvalidArgument

_SHOWN_NAMES = 10


@dataclass(frozen=True, slots=True)
class Instance:
    """What may differ from instance to instance.

    `digest_function` is what hashes of its length are of in requests that do not state a function:
    some clients never do (Q-BUCK5).
    """

    digest_function: DigestFunction = SHA256


class Instances:
    """The instances of a server, by name; never changed."""

    def __init__(self, by_name: Mapping[str, Instance]) -> None:
        self._functions = {
            name: functions_led_by(instance.digest_function) for name, instance in by_name.items()
        }

    def check(self, instance_name: str) -> None:
        """Raises InvalidArgument for a name that is not served.

        Not NotFound, which would look like a cache miss and make a build slow instead of wrong.
        """
        if instance_name in self._functions:
            return
        names = ", ".join(repr(name) for name in sorted(self._functions)[:_SHOWN_NAMES])
        raise InvalidArgument(
            f"no instance {instance_name[:200]!r} here; this server has {names}: "
            "check --remote_instance_name, REAPI_INSTANCE or the like"
        )

    def functions(self, instance_name: str) -> tuple[DigestFunction, ...]:
        """The digest functions of an instance, its default first; raises as `check`."""
        self.check(instance_name)
        return self._functions[instance_name]

    def parse_function(
        self, instance_name: str, number: int, hash_length: int | None = None
    ) -> DigestFunction:
        """As `parse_function` of core/digest.py, for that instance; raises as `check`, too."""
        return parse_function(number, hash_length, self.functions(instance_name))

    def parse_digests(
        self, instance_name: str, messages: Sequence[re_pb2.Digest], number: int
    ) -> list[Digest]:
        """All digests of one request, which share one function (D5); raises InvalidArgument."""
        length = len(messages[0].hash) if messages else None
        function = self.parse_function(instance_name, number, length)
        return [parse_digest(message, function) for message in messages]
