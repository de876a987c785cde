"""Puts the parts of a compile client together, for the daemon and for `reapi-cli compile`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from reapi.core.digest import Digest, DigestFunction

from .compile_action import CompileActions
from .compilers import Compilers
from .crates import Crates
from .directory_states import DirectoryStates
from .engine import CompileEngine
from .engines import Engines
from .file_states import FileStates
from .hits import Hits
from .keeping import Keeping
from .library_path import LibraryPaths
from .local_cache import LocalCache
from .local_compile import LocalCompiles
from .local_slots import LocalSlots
from .reasons import Reasons
from .remote_calls import RemoteCalls
from .remote_compile import RemoteCompiles
from .remote_crate import RemoteCrates
from .remote_link import RemoteLinks
from .rustc_compile import CrateCompiles
from .search_path import SearchPaths
from .services import Services
from .settings import CompileSettings
from .sharing import Sharing
from .understanding import Understanding


def make_engines(
    settings: CompileSettings,
    slots: LocalSlots,
    count_failure: Callable[[str], None],
    *,
    tool_name: str,
) -> Engines:
    """What answers all calls of a process, whose settings these are; it closes at its end.

    `count_failure` is told of what the service failed to do that no call has waited for.
    """
    return Engines(partial(_make_engine, settings, slots, count_failure, tool_name))


def _make_engine(
    settings: CompileSettings,
    slots: LocalSlots,
    count_failure: Callable[[str], None],
    tool_name: str,
    function: DigestFunction,
) -> CompileEngine:
    """Blocks while it looks at what its cache has."""
    files = FileStates(function)

    def digest_of(path: str) -> Digest:
        digest = files.digest(path)
        if digest is None:
            raise FileNotFoundError(path)
        return digest

    directory = Path(settings.cache_dir, function.name.lower())
    cache = LocalCache(directory, settings.cache_max_size_bytes, function)
    cache.load()
    keeping = Keeping(cache)
    hits = Hits(keeping, files, DirectoryStates())
    actions = CompileActions(digest_of, function)
    crates = Crates(files)
    return CompileEngine(
        understanding=Understanding(Compilers(digest_of)),
        hits=hits,
        searches=LibraryPaths(SearchPaths()),
        cache=cache,
        keeping=keeping,
        sharing=Sharing(cache, count_failure),
        remote=RemoteCalls(
            RemoteCompiles(files, hits, actions, slots),
            RemoteLinks(files, hits, actions, slots),
            RemoteCrates(files, crates, actions, slots),
        ),
        here=LocalCompiles(files, hits, cache, slots),
        crates=CrateCompiles(files, crates, cache, slots),
        services=Services(tool_name),
        reasons=Reasons(keeping, files),
    )
