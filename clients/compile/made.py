"""What came of a miss, wherever it was made."""

from collections.abc import Mapping
from dataclasses import dataclass

from reapi.core.digest import Digest

from .manifest import Entry


@dataclass(frozen=True, slots=True)
class Made:
    """What a call made: an entry for its manifest, and the blobs of it that are in memory."""

    entry: Entry
    blobs: Mapping[Digest, bytes]
    is_delivered: bool = False
    """Whether its outputs are at their places already."""
    slot_seconds: float = 0.0
    """How long an executor had it."""
