"""Where the client finds its server: flags, environment, project file, user file, in this order."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reapi.core.digest import SHA256
from reapi.core.errors import InvalidArgument

from .tls import ClientTls

DEFAULT_SERVER = "grpc://127.0.0.1:8980"

_VARIABLES = {
    "server": "REAPI_SERVER",
    "instance_name": "REAPI_INSTANCE",
    "token_file": "REAPI_TOKEN_FILE",
    "digest_function": "REAPI_DIGEST_FUNCTION",
    "tls_ca_file": "REAPI_TLS_CA_FILE",
    "tls_client_certificate_file": "REAPI_TLS_CLIENT_CERTIFICATE_FILE",
    "tls_client_key_file": "REAPI_TLS_CLIENT_KEY_FILE",
}
_FILES = (
    "token_file",
    "tls_ca_file",
    "tls_client_certificate_file",
    "tls_client_key_file",
)
"""Relative to the file that names them."""
_PROJECT_FILE = "reapi.toml"
_LONGEST_TOKEN_CHARACTERS = 8 << 10
"""Servers take no longer headers."""
COMPILE_TABLE = "compile"
"""The settings of the compile clients, in the same files; see clients/compile/settings.py."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a server. `token_file` holds a bearer token and nothing else.

    `digest_function` hashes what is sent, and is meant by hashes of its length on the command line.
    The `tls_` files are for a `server` of grpcs://; see clients/tls.py.
    """

    server: str = DEFAULT_SERVER
    instance_name: str = ""
    token_file: str | None = None
    digest_function: str = SHA256.name
    tls_ca_file: str | None = None
    tls_client_certificate_file: str | None = None
    tls_client_key_file: str | None = None

    @property
    def tls(self) -> ClientTls:
        """How the server is known, and this client by it."""
        return ClientTls(
            self.tls_ca_file, self.tls_client_certificate_file, self.tls_client_key_file
        )

    def variables(self) -> dict[str, str]:
        """The same as environment variables."""
        values = {variable: getattr(self, key) for key, variable in _VARIABLES.items()}
        return {variable: value for variable, value in values.items() if value is not None}

    def read_token(self) -> str | None:
        """The token, if there is a file of one; raises InvalidArgument when it cannot be read."""
        return None if self.token_file is None else read_token_file(Path(self.token_file))


def read_token_file(file: Path) -> str:
    """The bearer token in a file; raises InvalidArgument, which says no part of it."""
    try:
        with file.open(encoding="ascii") as opened:
            token = opened.read(_LONGEST_TOKEN_CHARACTERS + 1).strip()
    except OSError as error:
        raise InvalidArgument(f"cannot read the token file {file}: {error}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"token file {file} does not hold one token") from error
    is_one = token.isprintable() and "," not in token  # where a header of HTTP has its next value
    if not token or not is_one or len(token) > _LONGEST_TOKEN_CHARACTERS:
        raise InvalidArgument(f"token file {file} does not hold one token")
    return token


def load_settings(
    flags: Mapping[str, str | None],
    *,
    environment: Mapping[str, str] = os.environ,
    working_directory: Path,
) -> Settings:
    """Each setting from the first place that has it; raises InvalidArgument for a bad file.

    Files are `reapi.toml` in the working directory or the nearest above it, then
    `~/.config/reapi/config.toml`; they may have the keys of Settings, [compile], and no others.
    """
    values: dict[str, str] = {}
    for path in reversed(settings_files(environment, working_directory)):
        if path.is_file():
            values |= _read(path)
    for key, variable in _VARIABLES.items():
        if environment.get(variable) is not None:
            values[key] = environment[variable]
    values |= {key: value for key, value in flags.items() if value is not None}
    return Settings(**values)


def settings_files(environment: Mapping[str, str], working_directory: Path) -> list[Path]:
    """Where the nearest project file is or may appear, and the user's file, which may be absent.

    The more important one is first. Project files that do not exist are named as well, up to the
    one that does: a caller who remembers settings can see whether this list still holds.
    """
    found = []
    for directory in (working_directory, *working_directory.parents):
        found.append(directory / _PROJECT_FILE)
        if found[-1].is_file():
            break
    return [*found, user_settings_file(environment)]


def user_settings_file(environment: Mapping[str, str]) -> Path:
    """The settings of this user, for all projects."""
    config_home = environment.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(config_home, "reapi", "config.toml")


def read_table(path: Path) -> dict[str, Any]:
    """The content of a settings file; raises InvalidArgument when it cannot be read."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"cannot read {path}: {error}") from error


def _read(path: Path) -> dict[str, str]:
    values = read_table(path)
    values.pop(COMPILE_TABLE, None)
    for key, value in values.items():
        if key not in _VARIABLES:
            known = ", ".join(_VARIABLES)
            raise InvalidArgument(f"{path}: unknown key {key!r}; the keys are {known}")
        if not isinstance(value, str):
            raise InvalidArgument(f"{path}: {key} must be a string")
    for key in values.keys() & set(_FILES):
        values[key] = str(path.parent / Path(values[key]).expanduser())
    return values
