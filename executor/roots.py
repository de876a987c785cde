"""Chooses what the root file system of each command is, of what this worker can do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reapi.core.errors import FailedPrecondition
from reapi.core.execution_properties import (
    IMAGE_OFFER,
    INPUT_ROOT,
    INPUT_ROOT_OFFER,
    ExecutionProperties,
    InputRoot,
)
from reapi.core.interfaces import BlobStore
from reapi.core.uninterrupted import uninterrupted

from .command import PreparedCommand
from .device_nodes import can_change_roots
from .images import Images
from .input_tree import InputDirectory
from .root_file_system import MountPoints, is_root_file_system, mount_points
from .sandbox_choice import SandboxChoice
from .staged_directory import OutputParents


@dataclass(frozen=True, slots=True)
class Root:
    """The root file system of one command.

    `parents` are the directories that its input root is to have beside those of its Directory.
    `mounts` is set when the input root is the root file system, `image` is the directory of an
    image, and with neither these are the host's tools.
    """

    parents: OutputParents
    mounts: MountPoints | None = None
    image: str | None = None

    def label(self, host: str) -> str:
        """What it is, in a word or two; `host` is what the host's tools are called."""
        if self.image is not None:
            return "image"
        return host if self.mounts is None else "input root"


@dataclass(frozen=True, slots=True)
class RootAbilities:
    """By which means, if any, commands get other root file systems than the host's."""

    means: Literal["bubblewrap", "chroot"] | None

    @property
    def offers(self) -> tuple[tuple[str, str], ...]:
        """The platform properties that say so."""
        offers = {"bubblewrap": (IMAGE_OFFER, INPUT_ROOT_OFFER), "chroot": (INPUT_ROOT_OFFER,)}
        return offers.get(self.means or "", ())


def find_abilities(sandbox: SandboxChoice, directory: Path) -> RootAbilities:
    """What this worker can do; `directory`, which is its own, is for trying it."""
    if sandbox.bubblewrap is not None:
        return RootAbilities("bubblewrap")
    if sandbox.separate_uid and can_change_roots(directory):
        return RootAbilities("chroot")
    return RootAbilities(None)


class Roots:
    """For all slots of a worker."""

    def __init__(self, abilities: RootAbilities, images: Images) -> None:
        self._abilities = abilities
        self._images = images

    @asynccontextmanager
    async def use(
        self,
        properties: ExecutionProperties,
        command: PreparedCommand,
        directory: InputDirectory,
        store: BlobStore,
    ) -> AsyncIterator[Root]:
        """The root file system of `command`, whose input root is `directory`; see Images.use.

        Raises FailedPrecondition for one that this worker cannot give it.
        """
        parents = command.output_parents(directory)
        if properties.image is not None:
            if IMAGE_OFFER not in self._abilities.offers:
                raise FailedPrecondition(
                    "this worker cannot run actions in images: it has no working bubblewrap"
                )
            async with self._images.use(properties.image, store) as image:
                yield Root(parents, image=image)
        elif self._is_file_system(properties, command, directory):
            outputs = [output.segments for output in command.outputs]
            mounts = mount_points(directory, outputs, parents)
            yield Root(mounts.parents(parents), mounts)
        else:
            yield Root(parents)

    async def trim(self) -> None:
        """Gives up images for which there is no room, which takes no time when there is."""
        if self._images.has_too_much:
            await uninterrupted(self._images.trim())

    def _is_file_system(
        self,
        properties: ExecutionProperties,
        command: PreparedCommand,
        directory: InputDirectory,
    ) -> bool:
        if properties.input_root is InputRoot.HOST:
            return False
        is_asked_for = properties.input_root is InputRoot.FILE_SYSTEM
        if not is_asked_for and not is_root_file_system(
            directory, command.arguments, command.environment
        ):
            return False
        if INPUT_ROOT_OFFER not in self._abilities.offers:
            why = "the action asks for it" if is_asked_for else "it has a shell and the program"
            raise FailedPrecondition(
                f"the input root is to be the root file system of the command, for {why}, "
                "but this worker has no working bubblewrap and does not run as root with the "
                f"rights to chroot and mknod; to run it with the host's tools: {INPUT_ROOT}=host"
            )
        return True
