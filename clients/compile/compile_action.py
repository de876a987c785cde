"""The Action of a compile: a Command in an input root that is its whole file system."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reapi.clients.action import encode_action
from reapi.clients.model import CommandSpec
from reapi.core.digest import Digest, DigestFunction, digest_of
from reapi.core.errors import InvalidArgument
from reapi.core.execution_properties import INPUT_ROOT_OFFER

from .model import View
from .root_tree import EXACT_VIEW, RootTrees
from .toolchain import DigestOf, Toolchain

_MOST_ARGUMENTS = 8000
_LONGEST_ARGUMENT = 100_000
"""With more, executors need a shell to run a command, and a compiler's root has none."""


@dataclass(frozen=True, slots=True)
class CompileAction:
    """An action that is to be uploaded.

    `blobs` are Action, Command and Directories; `files` are where the other blobs lie here.
    `outputs` has for each path that the result may name the one that was asked for.
    """

    digest: Digest
    blobs: Mapping[Digest, bytes]
    files: Mapping[Digest, str]
    outputs: Mapping[str, str]


class CompileActions:
    """Makes actions of compiles. For one thread at a time; `digest_of` gets paths as given here.

    `platform` is what a worker must offer beside `input-root`.
    """

    def __init__(
        self,
        digest_of: DigestOf,
        function: DigestFunction,
        *,
        platform: Sequence[tuple[str, str]] = (),
        timeout_seconds: float | None = None,
    ) -> None:
        self._trees = RootTrees(digest_of, function)
        self._function = function
        self._platform = (*platform, INPUT_ROOT_OFFER)
        self._timeout_seconds = timeout_seconds

    def make(
        self,
        toolchain: Toolchain,
        *,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        working_directory: str,
        outputs: Iterable[str],
        inputs: Iterable[str],
        directories: Iterable[str] = (),
        made_up: Mapping[str, bytes] | None = None,
        view: View = EXACT_VIEW,
        includes: bool = True,
    ) -> CompileAction:
        """The action that runs `arguments` on `inputs`, which are absolute, with a toolchain.

        `arguments` and `environment` (sent_environment) are the compiler's own: but for argv[0]
        they name what `view` moves by its new name. All else is named as it is here.
        `working_directory` is the compiler's own name of it: it gets that as PWD. `outputs` may be
        relative to it. `directories` are searched, or may be: those that exist will do so. Inputs
        that are `made_up` are not those on disk.

        Equal compiles give equal digests. Takes a millisecond or so. Raises NotFound and
        InvalidArgument as RootTrees.build does, and for what an executor could not run.
        """
        if len(arguments) > _MOST_ARGUMENTS or any(len(a) > _LONGEST_ARGUMENT for a in arguments):
            raise InvalidArgument("it has too many arguments, or too long ones, for an action")
        texts = {digest_of(text, self._function): text for text in (made_up or {}).values()}
        tree = self._trees.build(
            inputs,
            toolchain=toolchain,
            working_directory=working_directory,
            outputs=outputs,
            directories=directories,
            made_up={
                path: digest_of(text, self._function) for path, text in (made_up or {}).items()
            },
            view=view,
            includes=includes,
        )
        search_path = ":".join(map(view.there, toolchain.search_path.split(":")))
        variables = {**environment, "PATH": search_path}
        if tree.logical_directory != f"/{tree.working_directory}":
            variables["PWD"] = tree.logical_directory
        spec = CommandSpec(
            arguments=(view.there(arguments[0]), *arguments[1:]),
            environment=variables,
            platform=self._platform,
            timeout_seconds=self._timeout_seconds,
        )
        try:
            digest, blobs = encode_action(
                spec, sorted(tree.outputs), tree.working_directory, tree.root_digest
            )
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"{error.object!a} is not UTF-8") from error
        return CompileAction(digest, {**tree.blobs, **blobs, **texts}, tree.files, tree.outputs)
