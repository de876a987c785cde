"""What executors make, by what it is: each kind of miss has a way of its own."""

from .calls import Call
from .made import Made
from .model import Finished, Local, Product
from .remote_compile import PreparedCompile, RemoteCompiles
from .remote_crate import PreparedCrate, RemoteCrates
from .remote_link import PreparedLink, RemoteLinks
from .remote_run import Prepared
from .rustc_arguments import RustCompilation
from .search_path import SearchPath
from .service import Service


class RemoteCalls:
    """Prepares and runs misses of all kinds. Safe for concurrent use by tasks."""

    def __init__(self, compiles: RemoteCompiles, links: RemoteLinks, crates: RemoteCrates) -> None:
        self._compiles = compiles
        self._links = links
        self._crates = crates

    async def prepare(self, call: Call, search: SearchPath) -> Prepared | Local:
        """The action that makes it; Local says why no executor is to."""
        if isinstance(call.compilation, RustCompilation):
            return await self._crates.prepare(call, call.compilation)
        if call.compilation.product is Product.OBJECT:
            return await self._compiles.prepare(call, search)
        return await self._links.prepare(call, search)

    async def run(
        self, call: Call, search: SearchPath, prepared: Prepared, service: Service
    ) -> Made | Finished | Local:
        """Runs what was prepared, and brings what it made; Finished is that of a failure."""
        if isinstance(prepared, PreparedLink):
            return await self._links.run(call, search, prepared, service)
        if isinstance(prepared, PreparedCrate):
            assert isinstance(call.compilation, RustCompilation)
            return await self._crates.run(call, call.compilation, prepared, service)
        assert isinstance(prepared, PreparedCompile)
        return await self._compiles.run(call, search, prepared, service)
