"""One line per build about trouble: never silent, never a line for each of a thousand files."""

from collections import OrderedDict

_PAUSE_SECONDS = 15.0
"""Calls of one session with a longer pause between them belong to two builds."""
_MOST_BUILDS = 256


class BuildWarnings:
    """Says which call of a build tells its user of trouble.

    A build is what a session (a terminal, a CI job) calls without a pause. Process groups would not
    do: ninja gives each call one of its own.
    """

    def __init__(self) -> None:
        self._builds: OrderedDict[int, tuple[float, bool]] = OrderedDict()

    def note_call(self, session: int, now: float) -> None:
        """Every call is told of, in trouble or not; `now` never goes back."""
        last, has_warned = self._builds.get(session, (now, False))
        self._builds[session] = (now, has_warned and now - last <= _PAUSE_SECONDS)
        self._builds.move_to_end(session)
        if len(self._builds) > _MOST_BUILDS:
            self._builds.popitem(last=False)

    def line(self, session: int, trouble: str, now: float) -> bytes:
        """What the call prints to stderr: a line, or nothing when its build knows already."""
        _, has_warned = self._builds.get(session, (now, False))
        if has_warned:
            return b""
        self._builds[session] = (now, True)
        text = f"reapi-cc: warning: {trouble}; reapi-cc --stats counts\n"
        return text.encode("utf-8", "backslashreplace")
