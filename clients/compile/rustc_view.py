"""Where rustc is told that a checkout is, so that its crates are shared as far as that is right."""

import os

from .model import View, Word
from .rustc_arguments import RustCompilation
from .views import canonical_view, exact_view, find_root, is_below

_NEVER_IN_RESULT = ("--out-dir=", "--extern=", "-L")


def root_of_crate(compilation: RustCompilation, directory: str) -> str | None:
    """The checkout that a crate is made for: its source may be far from it, in cargo's registry."""
    return find_root(os.path.dirname(os.path.join(directory, compilation.output)))


def view_of_crate(
    compilation: RustCompilation, directory: str, root: str | None, *, is_portable: bool
) -> View:
    """Canonical, if no path of the checkout can be in the crate or prefix maps take them out.

    What its variables bring in is looked at with each result.
    """
    if root is None or not is_below(os.path.join(directory, compilation.output), root):
        return exact_view(root)
    if is_portable:
        return canonical_view(root)
    names = (directory, compilation.source, *_words_in_result(compilation))
    return exact_view(root) if any(root in name for name in names) else canonical_view(root)


def _words_in_result(compilation: RustCompilation) -> list[str]:
    def is_in_result(word: Word) -> bool:
        return word.path is None or not word.before.startswith(_NEVER_IN_RESULT)

    return [str(word) for word in compilation.words if is_in_result(word)]
