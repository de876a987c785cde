"""From an invocation to a call: which compiler, which options, which checkout, which settings."""

from collections import OrderedDict
from collections.abc import Mapping

from reapi.core.errors import InvalidArgument

from .archiving import understand_archive
from .arguments import understand
from .calls import Call, logical_directory
from .compilers import Compiler, Compilers
from .environment import sent_environment
from .linking import LIBRARY_PATH, LINKER_VARIABLES, understand_link
from .locality import LINKS, SIDE_EFFECTS
from .model import Compilation, Family, Invocation, Local, View
from .rustc_arguments import RustCompilation, understand_rustc
from .rustc_environment import rustc_variables
from .rustc_view import root_of_crate, view_of_crate
from .settings import CallSettings, SettingsOfCalls
from .toolchain import Toolchain
from .views import canonical_view, exact_view, find_root, is_below, may_be_canonical

_MOST_PARSED = 4096


class Understanding:
    """Understands invocations; what was understood once costs little to understand again."""

    def __init__(self, compilers: Compilers) -> None:
        self._compilers = compilers
        self._settings = SettingsOfCalls()
        self._parsed: OrderedDict[tuple[object, ...], Compilation | Local] = OrderedDict()

    def now(self, invocation: Invocation) -> Call | Local | None:
        """The call, if nobody has to be asked; None if its compiler was never seen."""
        compiler = self._compilers.known(invocation)
        if compiler is None or isinstance(compiler, Local):
            return compiler
        parts = self._parts(invocation, compiler)
        if isinstance(parts, Local):
            return parts
        settings, compilation, root = parts
        toolchain = self._compilers.known_toolchain(compiler, compilation, invocation)
        if toolchain is None or isinstance(toolchain, Local):
            return toolchain
        return _call(invocation, compiler, toolchain, settings, compilation, root)

    async def of(self, invocation: Invocation) -> Call | Local:
        """The call, asking its compiler what it is where that is not known."""
        compiler = await self._compilers.find(invocation)
        if isinstance(compiler, Local):
            return compiler
        parts = self._parts(invocation, compiler)
        if isinstance(parts, Local):
            return parts
        settings, compilation, root = parts
        toolchain = await self._compilers.toolchain(compiler, compilation, invocation)
        if isinstance(toolchain, Local):
            return toolchain
        return _call(invocation, compiler, toolchain, settings, compilation, root)

    def _parts(
        self, invocation: Invocation, compiler: Compiler
    ) -> tuple[CallSettings, Compilation, str | None] | Local:
        directory = invocation.working_directory
        try:
            settings = self._settings.get(directory, invocation.environment)
        except InvalidArgument as error:
            return Local(f"its settings are wrong: {error.message}")
        root = settings.compile.root or find_root(directory)
        compilation = self._parse(invocation, compiler, root, links=settings.compile.link)
        if isinstance(compilation, Local):
            return compilation
        return settings, compilation, root

    def _parse(
        self, invocation: Invocation, compiler: Compiler, root: str | None, *, links: bool
    ) -> Compilation | Local:
        # What stands in a response file may be another thing tomorrow.
        if any(argument.startswith("@") for argument in invocation.arguments):
            return _understand(invocation, compiler, root, links=links)
        key = (
            invocation.arguments,
            invocation.working_directory,
            *map(
                invocation.environment.get,
                ("PWD", "TMPDIR", LIBRARY_PATH, *SIDE_EFFECTS, *LINKER_VARIABLES),
            ),
            compiler.family,
            compiler.is_cplusplus,
            root,
            links,
        )
        known = self._parsed.get(key)
        if known is None:
            known = self._parsed[key] = _understand(invocation, compiler, root, links=links)
            if len(self._parsed) > _MOST_PARSED:
                self._parsed.popitem(last=False)
        else:
            self._parsed.move_to_end(key)
        return known


def _understand(
    invocation: Invocation, compiler: Compiler, root: str | None, *, links: bool
) -> Compilation | Local:
    if compiler.family is Family.RUSTC:
        return understand_rustc(invocation, root=root)
    if compiler.family is Family.AR:
        return understand_archive(invocation, root) if links else Local("it makes an archive")
    found = understand(invocation, compiler.family, is_cplusplus=compiler.is_cplusplus, root=root)
    return understand_link(invocation, compiler.family, root) if links and found == LINKS else found


def _call(
    invocation: Invocation,
    compiler: Compiler,
    toolchain: Toolchain,
    settings: CallSettings,
    compilation: Compilation,
    root: str | None,
) -> Call | Local:
    is_crate = isinstance(compilation, RustCompilation)
    variables = (rustc_variables if is_crate else sent_environment)(invocation.environment)
    if isinstance(variables, Local):
        return variables
    directory = logical_directory(invocation)
    return Call(
        invocation,
        compiler,
        toolchain,
        compilation,
        settings,
        directory,
        _view(compilation, directory, root, settings, variables),
        tuple(sorted(variables.items())),
    )


def _view(
    compilation: Compilation,
    directory: str,
    root: str | None,
    settings: CallSettings,
    variables: Mapping[str, str],
) -> View:
    is_portable = settings.compile.portable
    if isinstance(compilation, RustCompilation):
        root = settings.compile.root or root_of_crate(compilation, directory)
        return view_of_crate(compilation, directory, root, is_portable=is_portable)
    if root is not None and not any(root in value for value in variables.values()):
        is_mapped = is_portable and is_below(directory, root)
        if is_mapped or may_be_canonical(compilation, directory, root):
            return canonical_view(root)
    return exact_view(root)
