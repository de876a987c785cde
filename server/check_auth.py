"""`reapi-server check`, of who may do what."""

import ipaddress
from collections.abc import Iterator

from reapi.core.errors import ReapiError
from reapi.core.finding import Finding
from reapi.core.identity import Permission

from .config import ServerConfig
from .tokens import Identities, digest_of_token, read_tokens

_NAME = "auth"


def check_auth(config: ServerConfig) -> Iterator[Finding]:
    """Whether the files of tokens can be used, and whether anybody is asked at all."""
    auth = config.auth
    try:
        token = auth.read_token()
        if auth.tokens_file is not None:
            identities = read_tokens(auth.tokens_file)
            yield from _tokens(config, identities)
            if token is not None:
                yield _own(token, identities)
    except ReapiError as error:
        yield Finding(_NAME, "failed", error.message, 'see "Who may do what" in configuration.md')
        return
    if auth.mode == "none":
        yield _open(config)


def _tokens(config: ServerConfig, identities: Identities) -> Iterator[Finding]:
    text = f"{len(identities)} tokens in {config.auth.tokens_file}"
    anonymous = ", ".join(config.auth.anonymous)
    text += f"; without a token: {anonymous}" if anonymous else "; whoever shows none is refused"
    yield Finding(_NAME, "ok", text)
    served = set(config.server.instance_names)
    for identity in identities.values():
        unknown = sorted((identity.instance_names or set()) - served)
        if unknown:
            yield Finding(
                _NAME,
                "warning",
                f"{identity.name} is for instances that are not served here: {', '.join(unknown)}",
                "correct its `instances`, or server.instance_names",
            )


def _own(token: str, identities: Identities) -> Finding:
    identity = identities.get(digest_of_token(token))
    if identity is not None and identity.may(Permission.WORK):
        return Finding(_NAME, "ok", f"this server's own token is that of {identity}")
    what = "is not in auth.tokens_file" if identity is None else f"is that of {identity}"
    return Finding(
        _NAME,
        "failed",
        f"the token of auth.token_file {what}",
        'give it the role "executor" there, which its executor needs',
    )


def _open(config: ServerConfig) -> Finding:
    listen = config.server.listen
    host = listen.rpartition(":")[0].strip("[]")
    is_local = config.server.is_on_socket or _is_loopback(host)
    if config.server.roles == ("executor",) or is_local:
        return Finding(_NAME, "ok", "nobody is asked for a token")
    if config.server.tls_client_ca_file is not None:
        return Finding(_NAME, "ok", "whoever has a certificate may do everything")
    return Finding(
        _NAME,
        "warning",
        f"whoever reaches {listen} may store results that everybody believes",
        'set auth.mode = "tokens" unless the network lets in only those who may',
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
