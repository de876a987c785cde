"""Turns a command into the blobs of an Action, and those of an Action back into a command."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from reapi.core.digest import Digest, digest_of, parse_digest
from reapi.core.errors import InvalidArgument, NotFound
from reapi.core.interfaces import BlobStore
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import (
    Action,
    Command,
    Platform,
)

from .file_digests import FileDigests
from .merkle import LocalTree, build_tree
from .model import ActionDetails, CommandSpec
from .paths import relative_to_root


@dataclass(frozen=True, slots=True)
class LocalAction:
    """An action and all blobs that it needs; `tree.blobs` holds those of the action, too."""

    digest: Digest
    tree: LocalTree
    outputs: frozenset[str]
    working_directory: str


def build_action(
    root: Path, spec: CommandSpec, digests: FileDigests, is_stopped: Callable[[], bool]
) -> LocalAction:
    """The action that runs `spec` on the inputs below `root`. Blocks: run it in a thread.

    Equal commands on equal inputs give equal digests, whatever the order of what has no order.
    """
    if not spec.arguments:
        raise InvalidArgument("there is no command to run")
    working_directory = relative_to_root(root, spec.working_directory)
    outputs = frozenset(_output_path(root, working_directory, path) for path in spec.outputs)
    tree = build_tree(
        root,
        spec.inputs,
        digests,
        empty_directories=[working_directory] if working_directory else [],
        is_stopped=is_stopped,
    )
    digest, blobs = encode_action(
        spec, sorted(outputs, key=str.encode), working_directory, tree.root_digest
    )
    tree.blobs |= blobs
    return LocalAction(digest, tree, outputs, working_directory)


def encode_action(
    spec: CommandSpec, output_paths: Sequence[str], working_directory: str, root_digest: Digest
) -> tuple[Digest, dict[Digest, bytes]]:
    """The digest of the Action of `spec`, and the blobs of its Command and itself.

    Paths are as the protocol has them, sorted and each once; inputs are those of the root.
    """
    command = Command(
        arguments=spec.arguments, output_paths=output_paths, working_directory=working_directory
    )
    for name, value in sorted(spec.environment.items()):
        command.environment_variables.add(name=name, value=value)
    platform = Platform()
    for name, value in sorted(spec.platform):
        platform.properties.add(name=name, value=value)
    # Old servers read the platform of the Command, new ones that of the Action (EX21).
    command.platform.CopyFrom(platform)
    command_data = command.SerializeToString(deterministic=True)
    command_digest = digest_of(command_data, root_digest.function)
    action = Action(
        command_digest=command_digest.to_message(),
        input_root_digest=root_digest.to_message(),
        platform=platform,
    )
    if spec.timeout_seconds is not None:
        action.timeout.FromNanoseconds(round(spec.timeout_seconds * 1e9))
    action_data = action.SerializeToString(deterministic=True)
    action_digest = digest_of(action_data, root_digest.function)
    return action_digest, {command_digest: command_data, action_digest: action_data}


def _output_path(root: Path, working_directory: str, path: str) -> str:
    """An output as the Command names it: relative to the working directory (IN4)."""
    relative = relative_to_root(root, path)
    if not working_directory:
        return relative
    if relative == working_directory:
        return ""
    if not relative.startswith(working_directory + "/"):
        raise InvalidArgument(f"output {path} is not below the working directory of the command")
    return relative[len(working_directory) + 1 :]


async def read_action(store: BlobStore, digest: Digest) -> ActionDetails:
    """The action in the blob `digest` with its command; raises NotFound or InvalidArgument."""
    action = Action()
    _parse(action, digest, await _read(store, digest, "action"))
    command_digest = parse_digest(action.command_digest, digest.function)
    command = Command()
    _parse(command, command_digest, await _read(store, command_digest, "command"))
    platform = action.platform if action.HasField("platform") else command.platform
    spec = CommandSpec(
        arguments=tuple(command.arguments),
        outputs=tuple(command.output_paths or [*command.output_files, *command.output_directories]),
        environment={item.name: item.value for item in command.environment_variables},
        platform=tuple((item.name, item.value) for item in platform.properties),
        working_directory=command.working_directory,
        timeout_seconds=(
            action.timeout.ToNanoseconds() / 1e9 if action.HasField("timeout") else None
        ),
    )
    return ActionDetails(
        digest=digest,
        command_digest=command_digest,
        input_root_digest=parse_digest(action.input_root_digest, digest.function),
        command=spec,
        do_not_cache=action.do_not_cache,
        result=None,
    )


async def _read(store: BlobStore, digest: Digest, what: str) -> bytes:
    if digest.size_bytes > 64 << 20:
        raise InvalidArgument(f"blob {digest} is too large to be an {what}")
    data = (await store.read_many([digest])).get(digest)
    if data is None:
        raise NotFound(f"{what} {digest} is not on the server")
    return data


def _parse(message: Action | Command, digest: Digest, data: bytes) -> None:
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise InvalidArgument(f"blob {digest} is not an {type(message).__name__}") from error
