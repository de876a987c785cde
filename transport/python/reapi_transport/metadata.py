"""Metadata of a call, as it is given to the codec."""

from collections.abc import Sequence

Pairs = Sequence[tuple[str, str | bytes]]
"""Names in lower case; bytes exactly for the names that end with `-bin`."""
