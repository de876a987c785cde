"""What the driver raises, in the words of the error tree."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from reapi.core.errors import FailedPrecondition, ReapiError, ResourceExhausted, Unavailable

RETRY_AFTER_SECONDS = 1.0
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
"""The transaction was undone for no fault of its own; at once it may well succeed."""
_NOT_SENT = "cannot switch to state"

_DOWN = (
    OSError,  # also every timeout
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,  # shut down, starting up, cancelled by statement_timeout
    # The driver lost its place in the conversation, as when the server says that it ends while a
    # statement is about to be sent.
    asyncpg.InternalClientError,
    asyncpg.InsufficientResourcesError,  # no connections left, out of memory
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.LockNotAvailableError,
    asyncpg.PostgresIOError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, as long as a fail-over takes
    *_CONFLICTS,
)


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the driver raises when the server cannot do its work into ReapiError.

    Everything else, such as a wrong statement or value, passes as it is.
    """
    try:
        yield
    except Exception as error:
        translation = translation_of(error)
        if translation is None:
            raise
        raise translation from error


def may_be_tried_again(error: Exception) -> bool:
    """Whether it is certain that the statement was undone, or that the driver never sent it.

    Once a server has said that it ends the connection the driver sends nothing more.
    """
    if isinstance(error, asyncpg.InternalClientError):
        return str(error).startswith(_NOT_SENT)
    return isinstance(error, _CONFLICTS)


def translation_of(error: Exception) -> ReapiError | None:
    """The error of our tree for one of the driver's; None if it says that we are wrong."""
    if isinstance(error, asyncpg.DiskFullError):
        return ResourceExhausted(
            "no space left on the disk of PostgreSQL", retry_after_seconds=10 * RETRY_AFTER_SECONDS
        )
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return FailedPrecondition(f"PostgreSQL refuses: {error}")
    # The driver's words for a connection that closed while it was about to be used. Its DataError
    # is of the same class, and means a value that cannot be sent.
    is_closed = isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
    if is_closed or isinstance(error, _DOWN):
        reason = str(error) or type(error).__name__
        return Unavailable(
            f"PostgreSQL is not available: {reason}", retry_after_seconds=RETRY_AFTER_SECONDS
        )
    return None
