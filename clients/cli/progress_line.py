"""One line on a terminal that says what is going on, and is gone at the end."""

import os
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from reapi.clients.model import Progress, RunProgress

_ERASE_LINE = "\r\x1b[K"


class ProgressLine:
    """Use it as a context manager around the work. Silent unless stderr is a terminal."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = ""

    @property
    def is_shown(self) -> bool:
        """Whether anybody sees it."""
        return self._is_shown

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.show("")

    def end(self) -> None:
        """Gives the terminal to somebody else, for good."""
        self.show("")
        self._is_shown = False

    def show(self, text: str) -> None:
        """That text, instead of the one before."""
        if self._is_shown and text != self._shown:
            self._shown = text
            sys.stderr.write(_ERASE_LINE + text)
            sys.stderr.flush()

    def clear(self) -> None:
        """Gives the terminal to somebody else, until the next text."""
        self.show("")

    def show_run(self, progress: "RunProgress") -> None:
        """What a run is doing."""
        transfer = f" {_amount(progress.transfer)}" if progress.transfer else ""
        self.show(f"{progress.activity.value}{transfer}")

    def show_transfer(self, progress: "Progress") -> None:
        """How far an upload or download is."""
        self.show(_amount(progress))


def _amount(progress: "Progress") -> str:
    return (
        f"{progress.blobs_done}/{progress.blobs_total} blobs, "
        f"{size_text(progress.bytes_done)} of {size_text(progress.bytes_total)}"
    )


def size_text(size_bytes: int) -> str:
    """A size for people, in binary units."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
