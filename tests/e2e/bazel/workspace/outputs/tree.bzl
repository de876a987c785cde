"""A rule whose one output is a directory."""

_COMMAND = """
set -eu
mkdir -p "$1/deep/er"
printf 'content' > "$1/deep/er/file.txt"
printf '#!/bin/sh\\necho hello from the tree\\n' > "$1/program.sh"
chmod +x "$1/program.sh"
"""

def _tree_impl(ctx):
    directory = ctx.actions.declare_directory(ctx.label.name)

    # Not every Bazel makes the directory itself before the action.
    command = "mkdir -p $1" if ctx.attr.is_empty else _COMMAND
    ctx.actions.run_shell(
        outputs = [directory],
        arguments = [directory.path],
        command = command,
        mnemonic = "Tree",
    )
    return [DefaultInfo(files = depset([directory]))]

tree = rule(
    implementation = _tree_impl,
    attrs = {"is_empty": attr.bool(doc = "Whether nothing is in the directory.")},
)
