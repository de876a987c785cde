"""The filters of ListOperations: a small part of AIP-160, `FIELD = VALUE AND FIELD = VALUE …`."""

import re
from dataclasses import dataclass

from google.longrunning.operations_pb2 import Operation

from reapi.core.errors import InvalidArgument
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    ExecuteOperationMetadata,
)

from .live_operation import LiveOperation
from .model import Stage
from .operation_message import state_of

_LONGEST = 2000
_TERM = re.compile(r'\s*([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"=()]+))\s*', re.ASCII)
_AND = re.compile(r"AND\s", re.ASCII)
_STAGES = tuple(stage.name for stage in Stage)
_ALLOWED = {"stage": _STAGES, "done": ("true", "false")}
_FIELDS = ("stage", "done", "worker", "tenant", "invocation", "target")
_SUPPORTED = (
    f"the fields are {', '.join(_FIELDS)}; write FIELD=VALUE, join several by AND, and quote "
    'values with spaces, as in stage=QUEUED AND target="//a:b"'
)


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """All `conditions`, pairs of field and value, must hold."""

    conditions: tuple[tuple[str, str], ...]

    @property
    def wants_live(self) -> bool:
        """Whether an operation that is not done can pass."""
        return not {("done", "true"), ("stage", Stage.COMPLETED.name)} & set(self.conditions)

    @property
    def wants_finished(self) -> bool:
        """Whether one that is done can."""
        return all(
            value in ("true", Stage.COMPLETED.name)
            for field, value in self.conditions
            if field in ("done", "stage")
        )

    def accepts_live(self, live: LiveOperation) -> bool:
        """Whether it passes as it is now."""
        if not self.conditions:
            return True
        facts = {
            "stage": Stage(live.stage).name,
            "done": "false",
            "tenant": live.instance_name,
            "invocation": live.invocation,
            "target": live.target,
            "worker": live.state().worker_id if live.stage == Stage.EXECUTING else "",
        }
        return self._accepts(facts)

    def accepts_finished(self, operation: bytes) -> bool:
        """The same for the serialized last message of one that is done."""
        if not self.conditions:
            return True
        metadata = ExecuteOperationMetadata()
        Operation.FromString(operation).metadata.Unpack(metadata)
        state = state_of(metadata)
        return self._accepts(
            {
                "stage": Stage.COMPLETED.name,
                "done": "true",
                "worker": metadata.partial_execution_metadata.worker,
                "tenant": state.tenant,
                "invocation": state.invocation,
                "target": state.target,
            }
        )

    def _accepts(self, facts: dict[str, str]) -> bool:
        return all(facts[field] == value for field, value in self.conditions)


def parse_filter(text: str) -> OperationFilter:
    """Raises InvalidArgument that says what there is."""
    if len(text) > _LONGEST:
        raise InvalidArgument(f"filter has more than {_LONGEST} characters")
    conditions: list[tuple[str, str]] = []
    at = 0
    while text.strip():
        term = _TERM.match(text, at)
        if term is None:
            raise InvalidArgument(f"filter {text[at : at + 80]!r} cannot be read: {_SUPPORTED}")
        conditions.append(_condition(term))
        at = term.end()
        if at == len(text):
            break
        conjunction = _AND.match(text, at)
        if conjunction is None:
            raise InvalidArgument(f"filter {text[at : at + 80]!r} cannot be read: {_SUPPORTED}")
        at = conjunction.end()
    return OperationFilter(tuple(conditions))


def _condition(term: re.Match[str]) -> tuple[str, str]:
    field, quoted, bare = term.groups()
    value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
    if field not in _FIELDS:
        raise InvalidArgument(f"filter has no field {field[:80]!r}: {_SUPPORTED}")
    allowed = _ALLOWED.get(field)
    if allowed is not None and value not in allowed:
        raise InvalidArgument(f"filter: {field} is one of {', '.join(allowed)}, not {value[:80]!r}")
    return field, value
