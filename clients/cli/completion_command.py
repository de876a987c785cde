"""`reapi-cli completion`: the script that teaches a shell to complete."""

import click
from click.shell_completion import get_completion_class

EPILOG = """\b
Examples:
  eval "$(reapi-cli completion bash)"
  reapi-cli completion fish > ~/.config/fish/completions/reapi-cli.fish
"""


@click.command(epilog=EPILOG)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    script_class = get_completion_class(shell)
    if script_class is None:
        raise click.ClickException(f"no completion is known for {shell}")
    complete = script_class(context.find_root().command, {}, "reapi-cli", "_REAPI_CLI_COMPLETE")
    # Not `source()`: for bash that runs a bash to look at its version.
    click.echo(complete.source_template % complete.source_vars())
