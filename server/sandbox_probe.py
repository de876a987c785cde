"""Which sandbox the executor of a configuration would take on this machine."""

import asyncio
import tempfile
from pathlib import Path

from reapi.executor.action_uid import can_separate_uids
from reapi.executor.sandbox_choice import SandboxChoice, choose_sandbox

from .config import ServerConfig


async def probe_sandbox(config: ServerConfig) -> SandboxChoice:
    """Runs a command in it, in a directory near the executor's that is gone afterwards.

    Raises FailedPrecondition for a sandbox that is required and does not work, OSError when there
    is no place to try.
    """
    place = await asyncio.to_thread(_make_place, config.executor_dir.resolve())
    try:
        directory = Path(place.name)
        return await choose_sandbox(
            config.executor.sandbox,
            directory,
            config.executor.sandbox_paths,
            separate_uid=can_separate_uids(directory),
        )
    finally:
        await asyncio.to_thread(place.cleanup)


def _make_place(wanted: Path) -> tempfile.TemporaryDirectory[str]:
    near = next(path for path in (wanted, *wanted.parents) if path.exists())
    place = tempfile.TemporaryDirectory(prefix=".reapi-sandbox-", dir=near)
    Path(place.name).chmod(0o711)
    return place
