"""`reapi-server check`, of what keeps the actions of an executor apart."""

import asyncio
from collections.abc import Iterator

from reapi.core.errors import ReapiError
from reapi.core.finding import Finding

from .config import ServerConfig
from .sandbox_probe import probe_sandbox

_NAME = "sandbox"


def check_sandbox(config: ServerConfig) -> Iterator[Finding]:
    """Which sandbox an executor with this configuration takes here, and why; runs a command."""
    if "executor" not in config.server.roles:
        return
    try:
        choice = asyncio.run(probe_sandbox(config))
    except OSError as error:
        yield Finding(_NAME, "failed", f"cannot be tried: {error}", "correct executor.cache_dir")
    except ReapiError as error:
        advice = 'mend it, or set executor.sandbox = "auto" to go without; see docs/sandbox.md'
        yield Finding(_NAME, "failed", error.message, advice)
    else:
        is_wanted = choice.bubblewrap or config.executor.sandbox == "none"
        advice = "" if is_wanted else "see docs/sandbox.md for what it needs"
        yield Finding(_NAME, "ok" if is_wanted else "warning", str(choice), advice)
