"""The settings below [auth]."""

from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from reapi.clients.settings import read_token_file
from reapi.core.identity import RoleName

from .section import Section


class AuthSection(Section):
    """[auth]: who may do what"""

    # "none": whoever reaches the ports may do everything. "tokens": who shows a token of
    # tokens_file, what that one may do.
    mode: Literal["none", "tokens"] = "none"
    # Names, tokens and roles, in TOML; read again when it changes.
    tokens_file: Path | None = None
    # The roles of callers who show no token; without any they are refused.
    anonymous: tuple[RoleName, ...] = ()
    # A file with the token that this server shows to others: an executor to its scheduler and
    # frontend, a frontend to its scheduler, an edge frontend to its upstream.
    token_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mode == "tokens" and self.tokens_file is None:
            raise ValueError('mode = "tokens" needs tokens_file')
        if self.mode == "none" and (self.tokens_file is not None or self.anonymous):
            raise ValueError('tokens_file and anonymous need mode = "tokens"')
        return self

    def read_token(self) -> str | None:
        """What this server shows to others; raises InvalidArgument when it cannot be read."""
        return None if self.token_file is None else read_token_file(self.token_file)
