"""What a check of the installation found, for people and for scripts."""

from typing import Literal, NamedTuple


class Finding(NamedTuple):
    """One line of `reapi-server check`.

    A warning works and has a drawback. `advice` says what to do unless all is well.
    """

    name: str
    status: Literal["ok", "warning", "failed"]
    text: str
    advice: str = ""
