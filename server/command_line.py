"""The entry point of `reapi-cli` as it is installed: its own commands, and those of components.

clients/ knows no other component, so what needs the code of one is added here.
"""

from reapi.clients.cli.__main__ import cli
from reapi.clients.cli.__main__ import main as run_command_line

from .scheduler_tools import scheduler

cli.add_command(scheduler)


def main() -> None:
    """Runs the command line of this process and exits."""
    run_command_line()


if __name__ == "__main__":
    main()
