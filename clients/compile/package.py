"""A compiler as a tree of its own, to be uploaded before the first compile needs it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reapi.clients.file_digests import FileDigests
from reapi.core.digest import Digest, DigestFunction
from reapi.core.errors import FailedPrecondition

from .compilers import Compiler, find_compiler
from .model import Invocation, Local
from .root_tree import RootTrees


@dataclass(frozen=True, slots=True)
class Package:
    """A compiler with all that it needs to run: the Directory of its root, and where files lie."""

    compiler: Compiler
    root_digest: Digest
    blobs: Mapping[Digest, bytes]
    files: Mapping[Digest, str]


def package_compiler(
    name: str,
    *,
    environment: Mapping[str, str],
    working_directory: str,
    cache_path: Path | None,
    function: DigestFunction,
) -> Package:
    """Finds the compiler that `name` means there and packages it. Blocks for a second or so.

    Raises FailedPrecondition for what is none that could run elsewhere.
    """
    with FileDigests(cache_path, function) as digests:

        def digest_of(path: str) -> Digest:
            return digests.digest(path, os.stat(path))

        invocation = Invocation((name,), working_directory, environment)
        compiler = find_compiler(invocation, digest_of)
        if isinstance(compiler, Local):
            raise FailedPrecondition(f"{name} cannot be packaged: {compiler.reason}")
        trees = RootTrees(digest_of, function)
        tree = trees.build([], toolchain=compiler.toolchain, working_directory="/")
        return Package(compiler, tree.root_digest, tree.blobs, tree.files)
