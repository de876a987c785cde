"""The tokens that a server knows: a TOML file with a table for each name, read again as it changes.

[ci]
token_sha256 = "…"        # of the token's characters; or token_file = "ci.token"
roles = ["writer"]
instances = ["main"]      # all unless set
"""

import hashlib
import logging
import secrets
import time
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from reapi.clients.settings import read_token_file
from reapi.core.errors import InvalidArgument, ReapiError, Unauthenticated
from reapi.core.identity import Identity, RoleName
from reapi.core.interfaces import Call

from .auth_section import AuthSection
from .section import Section

logger = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 1.0
_SHORTEST_TOKEN_CHARACTERS = 16
"""Shorter ones can be guessed. Digests are not salted, since tokens are random."""

_HOW_TO_SHOW = (
    "set token_file in reapi.toml or REAPI_TOKEN_FILE (reapi-cli, reapi-cc), or "
    "--remote_header='authorization=Bearer TOKEN' (Bazel), to a token that the operator gave you"
)

Identities = Mapping[bytes, Identity]
"""By the SHA-256 of the token."""


class _Entry(Section):
    """[NAME] of the file"""

    token_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    token_file: Path | None = None
    roles: Annotated[tuple[RoleName, ...], Field(min_length=1)]
    instances: Annotated[frozenset[str], Field(min_length=1)] = frozenset({"*"})

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.token_sha256 is None) == (self.token_file is None):
            raise ValueError("give either token_sha256 or token_file")
        return self


class Tokens:
    """Knows callers by their bearer tokens, and those who show none as `anonymous` says.

    `own_token` is what the processes of this server show each other: an executor's. Tokens are
    found by their digests, so the time that it takes says nothing of their characters. A file that
    cannot be read once it has changed is logged, and what it said before holds.
    """

    def __init__(
        self,
        file: Path,
        *,
        anonymous: tuple[RoleName, ...] = (),
        own_token: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._anonymous = Identity("anonymous", anonymous) if anonymous else None
        own = Identity("this server", ("executor",))
        self._own = {} if own_token is None else {digest_of_token(own_token): own}
        self._clock = clock
        self._look_again_at = clock() + _LOOK_AGAIN_SECONDS
        self._trouble = ""
        self._identities = read_tokens(file)

    def identify(self, call: Call) -> Identity:
        """See Authenticator. The last of several authorization headers counts; what a proxy
        made one header of is refused: it has a space after the comma."""
        header = call.metadata.get("authorization")
        if header is None:
            if self._anonymous is not None:
                return self._anonymous
            raise Unauthenticated(f"this server asks who calls: {_HOW_TO_SHOW}")
        scheme, _, token = str(header).rpartition(",")[2].partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated(f"this server takes bearer tokens only: {_HOW_TO_SHOW}")
        digest = digest_of_token(token.strip())
        self._look_again()
        identity = self._identities.get(digest) or self._own.get(digest)
        if identity is None:
            raise Unauthenticated(f"the token is not one of this server's: {_HOW_TO_SHOW}")
        return identity

    def _look_again(self) -> None:
        """Blocks for some small files, once a second at most."""
        if self._clock() < self._look_again_at:
            return
        self._look_again_at = self._clock() + _LOOK_AGAIN_SECONDS
        try:
            identities = read_tokens(self._file)
        except ReapiError as error:
            if error.message != self._trouble:
                logger.error("tokens are those from before: %s", error.message)
            self._trouble = error.message
            return
        self._trouble = ""
        if identities != self._identities:
            logger.info("%s has changed: %d tokens", self._file, len(identities))
            self._identities = identities


def digest_of_token(token: str) -> bytes:
    """Under which a token is known."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def read_tokens(file: Path) -> Identities:
    """What a file of tokens says; raises InvalidArgument that names the entry, and no token."""
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument(f"cannot read auth.tokens_file {file}: {error}") from error
    identities: dict[bytes, Identity] = {}
    for name, table in tables.items():
        digest, identity = _read_entry(file, name, table)
        other = identities.setdefault(digest, identity)
        if other is not identity:
            raise InvalidArgument(f"{file}: {other.name} and {name} have the same token")
    return identities


def _read_entry(file: Path, name: str, table: object) -> tuple[bytes, Identity]:
    try:
        entry = _Entry.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([name, *map(str, first["loc"])])
        raise InvalidArgument(f"{file}: {key}: {first['msg']}") from None  # it quotes the value
    instances = None if "*" in entry.instances else entry.instances
    identity = Identity(name, entry.roles, instances)
    if entry.token_file is None:
        return bytes.fromhex(entry.token_sha256 or ""), identity
    token = read_token_file(file.parent / entry.token_file)
    if len(token) < _SHORTEST_TOKEN_CHARACTERS:
        raise InvalidArgument(
            f"{file}: {name}: its token is shorter than {_SHORTEST_TOKEN_CHARACTERS} characters: "
            "make one with `openssl rand -hex 32`"
        )
    return digest_of_token(token), identity


def make_tokens(section: AuthSection, own_token: str | None) -> Tokens | None:
    """Raises InvalidArgument for a file that cannot be used; None where nobody is asked."""
    if section.tokens_file is None:
        return None
    return Tokens(section.tokens_file, anonymous=section.anonymous, own_token=own_token)


def make_own_token(section: AuthSection) -> str | None:
    """What the processes of this server show each other and their schedulers.

    Where no file says it, a server that asks for tokens makes one up, for as long as it runs.
    """
    token = section.read_token()
    if token is None and section.mode == "tokens":
        return secrets.token_urlsafe(32)
    return token
