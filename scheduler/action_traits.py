"""What makes actions alike: the same target and outputs, or the same program and outputs."""

from hashlib import blake2b
from typing import NamedTuple

from reapi.core.digest import Digest
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Command,
    RequestMetadata,
)

_LONGEST_TEXT = 1000
_KEY_BYTES = 16


class ActionTraits(NamedTuple):
    """What history keeps of an action.

    The keys are equal for actions of one instance that are alike. Without target and mnemonic, or
    without the Command, there is no such key.
    """

    action: Digest
    target: str
    mnemonic: str
    target_key: bytes | None = None
    program_key: bytes | None = None


def traits_of(
    instance_name: str, action: Digest, metadata: RequestMetadata, command: Command | None
) -> ActionTraits:
    """`metadata` is what the client said of the call; texts in it are bounded."""
    target, mnemonic = stored_text(metadata.target_id), stored_text(metadata.action_mnemonic)
    if command is None:
        return ActionTraits(action, target, mnemonic)
    outputs = output_names(command)
    return ActionTraits(
        action,
        target,
        mnemonic,
        _key(instance_name, target, mnemonic, *outputs) if target or mnemonic else None,
        _key(instance_name, *command.arguments[:1], *outputs),
    )


def output_names(command: Command) -> list[str]:
    """The outputs that a Command declares, in the new way or in the old one, sorted."""
    return sorted(command.output_paths or [*command.output_files, *command.output_directories])


def stored_text(text: str) -> str:
    """Text from outside as databases take it: without zero bytes, and not too long."""
    return text.replace("\0", "")[:_LONGEST_TEXT] if text else ""


def _key(*texts: str) -> bytes:
    return blake2b("\0".join(texts).encode(), digest_size=_KEY_BYTES).digest()
