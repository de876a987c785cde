"""Where the client finds its server: flags, environment, project file, user file, in this order."""

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reapi.core.digest import SHA256
from reapi.core.errors import InvalidArgument

DEFAULT_SERVER = "grpc://127.0.0.1:8980"

_VARIABLES = {
    "server": "REAPI_SERVER",
    "instance_name": "REAPI_INSTANCE",
    "token_file": "REAPI_TOKEN_FILE",
    "digest_function": "REAPI_DIGEST_FUNCTION",
}
_PROJECT_FILE = "reapi.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a server. `token_file` holds a bearer token and nothing else.

    `digest_function` hashes what is sent, and is meant by hashes of its length on the command line.
    """

    server: str = DEFAULT_SERVER
    instance_name: str = ""
    token_file: str | None = None
    digest_function: str = SHA256.name

    def read_token(self) -> str | None:
        """The token, if there is a file of one; raises InvalidArgument when it cannot be read."""
        if self.token_file is None:
            return None
        try:
            token = Path(self.token_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidArgument(
                f"cannot read the token file {self.token_file}: {error}"
            ) from error
        if not token or not token.isprintable():
            raise InvalidArgument(f"token file {self.token_file} does not hold one token")
        return token


def load_settings(
    flags: Mapping[str, str | None],
    *,
    environment: Mapping[str, str] = os.environ,
    working_directory: Path,
) -> Settings:
    """Each setting from the first place that has it; raises InvalidArgument for a bad file.

    Files are `reapi.toml` in the working directory or the nearest above it, then
    `~/.config/reapi/config.toml`; they may have the keys of Settings and no others.
    """
    values: dict[str, str] = {}
    for path in reversed(list(_files(environment, working_directory))):
        values |= _read(path)
    for key, variable in _VARIABLES.items():
        if environment.get(variable) is not None:
            values[key] = environment[variable]
    values |= {key: value for key, value in flags.items() if value is not None}
    return Settings(**values)


def _files(environment: Mapping[str, str], working_directory: Path) -> Iterator[Path]:
    """The files that exist, the more important one first."""
    for directory in (working_directory, *working_directory.parents):
        if (directory / _PROJECT_FILE).is_file():
            yield directory / _PROJECT_FILE
            break
    config_home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    user_file = Path(config_home, "reapi", "config.toml")
    if user_file.is_file():
        yield user_file


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            values: dict[str, Any] = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from error
    for key, value in values.items():
        if key not in _VARIABLES:
            known = ", ".join(_VARIABLES)
            raise InvalidArgument(f"{path}: unknown key {key!r}; the keys are {known}")
        if not isinstance(value, str):
            raise InvalidArgument(f"{path}: {key} must be a string")
    if "token_file" in values:
        values["token_file"] = str(path.parent / Path(values["token_file"]).expanduser())
    return values
