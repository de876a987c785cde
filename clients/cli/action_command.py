"""`reapi-cli action`: what an action is, and what came of it."""

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from .default_command import group_with_default
from .parameters import digest_argument, json_option
from .report import print_json, result_json
from .result_commands import results, revoke
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.model import ActionDetails, RunResult
    from reapi.core.digest import Digest


@click.group(
    cls=group_with_default("show"),
    epilog="\b\nExamples:\n  reapi-cli action HASH/SIZE\n"
    "  reapi-cli action results --worker build-7 --since 2h",
)
def action() -> None:
    """Show actions (`action HASH/SIZE`); list and revoke cached results."""


action.add_command(results)
action.add_command(revoke)


@action.command(epilog="\b\nExample:\n  reapi-cli action HASH/SIZE")
@digest_argument
@json_option
def show(digest: "Digest", as_json: bool) -> None:
    """Show an action, its command and its cached result.

    The digest is the action_digest that `reapi-cli run --json` and `reapi-cli operations` print.
    """

    async def work(client: "Client") -> "ActionDetails":
        return await client.get_action(digest)

    details = with_client(work)
    if as_json:
        print_json(_details_json(details))
        return
    for name, value in _lines(details):
        click.echo(f"{name:<13} {value}")


def _details_json(details: "ActionDetails") -> dict[str, Any]:
    command = details.command
    return {
        "name": str(details.digest),
        "command_digest": str(details.command_digest),
        "input_root_digest": str(details.input_root_digest),
        "arguments": list(command.arguments),
        "environment": dict(command.environment),
        "platform": [{"name": name, "value": value} for name, value in command.platform],
        "working_directory": command.working_directory,
        "outputs": list(command.outputs),
        "timeout_seconds": command.timeout_seconds,
        "do_not_cache": details.do_not_cache,
        "result": result_json(details.result) if details.result else None,
    }


def _lines(details: "ActionDetails") -> Iterator[tuple[str, str]]:
    command = details.command
    yield "action", str(details.digest)
    yield "command", str(details.command_digest)
    yield "  arguments", shlex.join(command.arguments)
    if command.working_directory:
        yield "  directory", command.working_directory
    for name, value in command.environment.items():
        yield "  variable", f"{name}={shlex.quote(value)}"
    for path in command.outputs:
        yield "  output", path
    yield "input root", str(details.input_root_digest)
    for name, value in command.platform:
        yield "platform", f"{name}={value}"
    if command.timeout_seconds is not None:
        yield "timeout", f"{command.timeout_seconds:g} s"
    if details.do_not_cache:
        yield "caching", "never (do_not_cache)"
    if details.result is None:
        yield "result", "not cached"
    else:
        yield from _result_lines(details.result)


def _result_lines(result: "RunResult") -> Iterator[tuple[str, str]]:
    yield "result", f"cached, exit code {result.exit_code}"
    if result.worker:
        yield "  worker", result.worker
    if result.timings.execution is not None:
        yield "  execution", f"{result.timings.execution:.3f} s"
    if result.usage is not None:
        seconds = result.usage.user_seconds + result.usage.system_seconds
        yield "  processors", f"{seconds:.3f} s"
        yield "  memory", f"{result.usage.peak_memory_bytes / (1 << 20):.1f} MiB at most"
    for name, digest in (("  stdout", result.stdout_digest), ("  stderr", result.stderr_digest)):
        if digest.size_bytes:
            yield name, str(digest)
    for entry in result.outputs:
        yield f"  {entry.kind.value}", f"{entry.digest or '-> ' + entry.target}  {entry.path}"
