"""`reapi-cli explain`: why an action was cached or not, and what happened to it."""

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from .history_command import entry_json
from .parameters import DigestType, json_option
from .report import print_json
from .session import with_client

if TYPE_CHECKING:
    from reapi.clients.client import Client
    from reapi.clients.model import Explanation
    from reapi.core.digest import Digest


class _SubjectType(click.ParamType["Digest | str"]):
    """HASH/SIZE of an action, or the name of an operation."""

    name = "ACTION|OPERATION"

    def convert(self, value: Any, param: Any, ctx: Any) -> "Digest | str":
        if value.startswith("operations/"):
            return str(value)
        try:
            return DigestType().convert(value, param, ctx)
        except click.ClickException as error:
            self.fail(f"{error.message}, or name an operation as operations/...", param, ctx)


@click.command(
    epilog="\b\nExamples:\n  reapi-cli explain HASH/SIZE\n"
    "  reapi-cli explain operations/2f1c...\n"
    "The digests are those that `run --json`, `operations list` and `history` print."
)
@click.argument("subject", type=_SubjectType(), metavar="ACTION|OPERATION")
@json_option
def explain(subject: "Digest | str", as_json: bool) -> None:
    """Say why an action was cached or not, why it waits, and where it ran.

    An action that ran though a like one had run before is compared with that: the inputs,
    arguments, variables and platform properties that differ are listed.
    """

    async def work(client: "Client") -> "Explanation":
        return await client.explain(subject)

    found = with_client(work)
    if as_json:
        print_json(_explanation_json(found))
        return
    for line in found.lines:
        click.echo(line)


def _explanation_json(found: "Explanation") -> dict[str, Any]:
    return {
        "cache_state": found.cache_state,
        "cache_reason": found.cache_reason,
        "run_reason": found.run_reason or None,
        "differences": [dataclasses.asdict(one) for one in found.differences],
        "notes": list(found.notes),
        "compared_with": entry_json(found.compared_with) if found.compared_with else None,
        "history": [entry_json(entry) for entry in found.history],
    }
