"""Gives a command a connected client, and turns the errors of the tree into messages."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from .exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.settings import Settings
    from reapi.core.errors import ReapiError

T = TypeVar("T")


def current_settings() -> "Settings":
    """The settings of the command that is running; raises InvalidArgument for a bad file."""
    from reapi.clients.settings import load_settings

    flags = click.get_current_context().find_root().obj
    return load_settings(flags, working_directory=Path.cwd())


def with_client(work: "Callable[[Client], Awaitable[T]]") -> T:
    """Runs `work` with a client of the server that flags, environment and files name.

    Errors of the tree become click's, of one or two lines.
    """
    from reapi.clients.client import Client

    async def run(settings: "Settings") -> T:
        client = Client(
            settings.server,
            instance_name=settings.instance_name,
            token=settings.read_token(),
            tls=settings.tls,
            digest_function=settings.digest_function,
            tool_name="reapi-cli",
        )
        async with client:
            return await work(client)

    return with_settings(run)


def with_settings(work: "Callable[[Settings], Coroutine[None, None, T]]") -> T:
    """Runs `work` with what flags, environment and files say; errors as in `with_client`."""
    with explained_errors():
        try:
            return asyncio.run(work(current_settings()))
        except KeyboardInterrupt:
            # By now the work was cancelled, at the server too. As an Abort click would add a line.
            raise click.exceptions.Exit(INTERRUPTED) from None


@contextmanager
def explained_errors() -> Iterator[None]:
    """Turns errors of the tree into click's."""
    from reapi.core.errors import ReapiError

    try:
        yield
    except ReapiError as error:
        raise click.ClickException(explain(error)) from error


def explain(error: "ReapiError") -> str:
    """What went wrong, and what to do where the message alone does not say it."""
    from reapi.core.errors import (
        BlobsMissing,
        Internal,
        PermissionDenied,
        ResourceExhausted,
        Unauthenticated,
        Unimplemented,
    )

    message = error.message or type(error).__name__
    hints: dict[type[ReapiError], str] = {
        Unauthenticated: "set --token-file, REAPI_TOKEN_FILE or token_file in reapi.toml",
        PermissionDenied: "ask whoever runs the server for the permission",
        Unimplemented: "the server does not offer this",
        ResourceExhausted: "the server has no room now: try again later",
        BlobsMissing: "upload them again, or run the command again from its files",
        Internal: "this is a fault of the server: its log says more",
    }
    hint = hints.get(type(error))
    return f"{message}\n{hint}" if hint else message
