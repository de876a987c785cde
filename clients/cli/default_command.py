"""Groups of commands of which the most usual one need not be named."""

import click


def group_with_default(name: str) -> type[click.Group]:
    """The class of a group in which the command `name` is meant by arguments of no other."""

    class GroupWithDefault(click.Group):
        def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
            if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
                args = [name, *args]
            return super().parse_args(ctx, args)

    return GroupWithDefault
