"""Where the database is and as whom to connect: read from a file, because it holds a password."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from reapi.core.errors import InvalidArgument

_URL = re.compile(r"postgres(ql)?://")
_PAIR = re.compile(
    r"\s*([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)", re.DOTALL
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True)
class Dsn:
    """A connection string as `postgresql://` URL. Its text is a secret: it shows only its file."""

    url: str = field(repr=False)
    file: Path | None = None


def read_dsn(file: Path) -> Dsn:
    """The file's content: a `postgresql://` URL, or libpq's `host=… dbname=… password=…`.

    Raises InvalidArgument that names the file and never says what is in it.
    """
    try:
        text = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read storage.state.dsn_file {file}: {error}") from error
    if _URL.match(text):
        return Dsn(text, file)
    parameters = _keywords(text)
    if not parameters:
        raise InvalidArgument(
            f"{file} holds neither a postgresql:// URL nor keywords such as "
            "host=… dbname=… user=… password=…"
        )
    return Dsn(f"postgresql://?{urlencode(parameters)}", file)


def _keywords(text: str) -> dict[str, str]:
    """The pairs of a keyword string; none if it is not one."""
    parameters = {}
    position = 0
    while position < len(text):
        match = _PAIR.match(text, position)
        if match is None:
            return {}
        quoted, plain = match[2], match[3]
        parameters[match[1]] = _ESCAPED.sub(r"\1", plain if quoted is None else quoted)
        position = match.end()
    return parameters
