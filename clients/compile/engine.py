"""What becomes of a call: answered from memory, from a cache, by an executor, or made here."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from reapi.core.digest import Digest
from reapi.core.errors import FailedPrecondition, NotFound, ReapiError, ResourceExhausted
from reapi.core.uninterrupted import uninterrupted

from .calls import Call
from .hits import Hits
from .keeping import Keeping
from .library_path import LibraryPaths
from .local_cache import LocalCache
from .local_compile import LocalCompiles
from .made import Made
from .manifest import Entry
from .miss import Miss
from .model import Answer, Finished, Invocation, Local
from .outcome import Outcome, OutcomeKind
from .race import race
from .reasons import Reasons
from .remote_calls import RemoteCalls
from .remote_run import Prepared
from .results import CannotDeliver, delivery_of, diagnostics, digests_of, fits
from .rustc_arguments import RustCompilation
from .rustc_compile import CrateCompiles
from .service import Service
from .services import Services
from .sharing import Sharing
from .understanding import Understanding

_QUICK_BYTES = 64 << 10
"""Written sooner than a thread is asked to."""


class CompileEngine:
    """Answers calls of compilers, for one event loop; to be closed at the end.

    An answer is never an error: what goes wrong with the service ends as the setting `fallback`
    says. The outcome of an answer tells what became of the call.
    """

    def __init__(
        self,
        *,
        understanding: Understanding,
        hits: Hits,
        searches: LibraryPaths,
        cache: LocalCache,
        remote: RemoteCalls,
        keeping: Keeping,
        here: LocalCompiles,
        crates: CrateCompiles,
        services: Services,
        reasons: Reasons,
        sharing: Sharing,
    ) -> None:
        self._understanding = understanding
        self._hits = hits
        self._searches = searches
        self._cache = cache
        self._remote = remote
        self._keeping = keeping
        self._here = here
        self._crates = crates
        self._services = services
        self._reasons = reasons
        self._sharing = sharing

    async def close(self) -> None:
        """Does what `finish` does, and closes all connections."""
        await self.finish()
        await self._services.close()

    async def finish(self) -> None:
        """Returns when all made so far is kept, and shared as far as the service takes it."""
        await self._keeping.finish()
        await self._sharing.finish()

    def answer_now(self, invocation: Invocation) -> Answer | None:
        """What needs nothing but this machine's files: a hit here, or that a call stays here.

        Blocks for the time of a few hundred stats and a copy.
        """
        call = self._understanding.now(invocation)
        if call is None:
            return None
        if isinstance(call, Local):
            return _stays(call)
        search = self._searches.known(call)
        key = None if search is None else self._hits.key(call)
        if search is None or key is None:
            return None
        hit = self._hits.look(call, key, search).hit
        return None if hit is None else self._deliver(call, hit, OutcomeKind.HIT_LOCAL)

    async def answer(self, invocation: Invocation) -> Answer:
        """As `answer_now`, whatever it needs. Cancelling ends what was begun, remotely too."""
        found = await self.find(invocation)
        return await self.make(found) if isinstance(found, Miss) else found

    async def find(self, invocation: Invocation) -> Answer | Miss:
        """Looks in the caches of this machine and of the server."""
        call = await self._understanding.of(invocation)
        if isinstance(call, Local):
            return _stays(call)
        try:
            search = await self._searches.find(call)
        except ReapiError as error:
            return _stays(Local("its compiler does not answer"), call, (error.message,))
        key = self._hits.key(call)
        if key is None:
            return _stays(Local("its source cannot be read"), call)
        looked = self._hits.look(call, key, search)
        if looked.hit is not None:
            answer = self._deliver(call, looked.hit, OutcomeKind.HIT_LOCAL)
            if answer is not None:
                return answer
        miss = Miss(call, search, looked)
        try:
            miss.service = await self._services.of(call.settings.connection)
            with miss.timed("look up"):
                answer = await self._find_shared(miss, miss.service)
        except ReapiError as error:
            miss.service, miss.trouble, answer = None, error, None
        if answer is not None:
            return answer
        miss.reasons = tuple(self._reasons.of(call, miss.looked))
        return miss

    async def _find_shared(self, miss: Miss, service: Service) -> Answer | None:
        """The hit that another has shared, with its blobs."""
        data = await service.manifest(miss.looked.key)
        if data is None:
            return None
        miss.looked = self._hits.look_into(miss.call, miss.looked, data, miss.search)
        hit = miss.looked.hit
        if hit is None or not fits(miss.call, hit.result):
            return None
        digests = digests_of(hit.result, service.function)
        try:
            blobs = await service.read([one for one in digests if self._cache.blob(one) is None])
        except NotFound:
            return None
        answer = await self._bring(miss.call, hit, blobs, OutcomeKind.HIT_REMOTE)
        if answer is not None:
            self._keep(miss, hit, blobs)
        return answer

    def is_remote(self, miss: Miss) -> bool:
        """Whether an executor is to make it."""
        return miss.service is not None and miss.is_for_executors

    async def prepare(self, miss: Miss) -> Prepared | Local:
        """The action that would make it."""
        with miss.timed("dependencies"):
            return await self._remote.prepare(miss.call, miss.search)

    async def make(self, miss: Miss, prepared: Prepared | Local | None = None) -> Answer:
        """Makes it where the settings say; `prepared` is what `prepare` has answered, if it was
        asked before."""
        settings, service = miss.call.settings.compile, miss.service
        if not miss.is_for_executors:
            return await self._make_here(miss, OutcomeKind.MISS_LOCAL)
        if service is None:
            return await self._fall_back(miss)
        try:
            if prepared is None:
                service.check_executes()
                prepared = await self.prepare(miss)
            if isinstance(prepared, Local):
                return await self._decline(miss, prepared)
            if settings.strategy == "race":
                return await self._race(miss, prepared, service)
            return await self._make_remotely(miss, prepared, service)
        except ReapiError as error:
            miss.trouble = error
            return await self._fall_back(miss)

    async def _make_remotely(self, miss: Miss, prepared: Prepared, service: Service) -> Answer:
        with miss.timed("execute"):
            made = await self._remote.run(miss.call, miss.search, prepared, service)
        return await self._accept(miss, made)

    async def _accept(self, miss: Miss, made: Made | Finished | Local) -> Answer:
        """Takes what came back from an executor."""
        if isinstance(made, Local):
            return await self._decline(miss, made)
        if isinstance(made, Finished) and miss.call.settings.compile.fallback != "never":
            # It is the compiler here that says what is wrong: an executor may have failed, or an
            # input that no compiler names may have been missing there.
            miss.reasons = (f"exit code {made.exit_code}",)
            return await self._decline(miss, Local("it did not compile remotely"))
        return await self._finish(miss, made, OutcomeKind.MISS_REMOTE)

    async def _decline(self, miss: Miss, local: Local) -> Answer:
        """What no executor is to make; of all but compiles the result is kept as well from here."""
        if miss.is_compile:
            return _stays(local, miss.call, miss.reasons)
        return await self._make_here(miss, OutcomeKind.MISS_LOCAL, local.reason)

    async def _make_here(self, miss: Miss, kind: OutcomeKind, reason: str = "") -> Answer:
        made: Made | Finished | Local
        try:
            with miss.timed("compile"):
                made = await self._run_here(miss)
        except (FailedPrecondition, ResourceExhausted) as error:
            made = Local(error.message)
        return await self._finish(miss, made, kind, reason)

    async def _run_here(self, miss: Miss) -> Made | Finished | Local:
        compilation = miss.call.compilation
        if isinstance(compilation, RustCompilation):
            return await self._crates.run(miss.call, compilation)
        return await self._here.run(miss.call, miss.search, miss.looked.key)

    async def _race(self, miss: Miss, prepared: Prepared, service: Service) -> Answer:
        made, is_here = await race(
            self._remote.run(miss.call, miss.search, prepared, service),
            self._run_here(miss),
        )
        if is_here:
            return await self._finish(miss, made, OutcomeKind.MISS_LOCAL)
        return await self._accept(miss, made)

    async def _fall_back(self, miss: Miss) -> Answer:
        """The service is in trouble: the setting says who is to bear it."""
        if miss.call.settings.compile.fallback == "never":
            outcome = miss.outcome(OutcomeKind.FALLBACK, "the service failed")
            text = (
                f"reapi-cc: {outcome.trouble}\n"
                'fallback = "never" keeps it from being compiled here\n'
            )
            return Finished(1, stderr=text.encode(), outcome=outcome)
        return await self._make_here(miss, OutcomeKind.FALLBACK)

    async def _finish(
        self, miss: Miss, made: Made | Finished | Local, kind: OutcomeKind, reason: str = ""
    ) -> Answer:
        """Keeps and delivers what was made; says what a compiler that failed has said."""
        if isinstance(made, Local):
            return _stays(made, miss.call, miss.reasons)
        if isinstance(made, Finished) and made.outcome:
            reason = made.outcome.reason
        outcome = miss.outcome(kind, reason)
        if not outcome.trouble:
            outcome = replace(outcome, trouble=self._sharing_trouble(miss))
        if isinstance(made, Finished):
            text = diagnostics(miss.call, made.stderr)
            return Finished(made.exit_code, made.stdout, text, outcome)
        self._keep(miss, made.entry, made.blobs)
        if not made.is_delivered:
            answer = await self._bring(miss.call, made.entry, made.blobs, kind)
            if answer is None:
                return _stays(Local("its outputs cannot be written"), miss.call)
        result = made.entry.result
        outcome = replace(outcome, slot_seconds=made.slot_seconds)
        return Finished(0, result.stdout, diagnostics(miss.call, result.stderr), outcome)

    def _deliver(self, call: Call, entry: Entry, kind: OutcomeKind) -> Answer | None:
        """Puts a result that is here to its place; None when that fails or some of it is gone."""
        try:
            delivery = delivery_of(call, entry.result, self._cache, self._keeping.blobs)
            return None if delivery is None else _delivered(call, delivery.make(), kind)
        except (CannotDeliver, OSError):
            return None

    async def _bring(
        self, call: Call, entry: Entry, blobs: Mapping[Digest, bytes], kind: OutcomeKind
    ) -> Answer | None:
        """As `_deliver`, of a result of which these blobs came; others go on meanwhile."""
        try:
            delivery = delivery_of(call, entry.result, self._cache, blobs)
            if delivery is None:
                return None
            if delivery.size_bytes < _QUICK_BYTES:
                return _delivered(call, delivery.make(), kind)
            return _delivered(call, await uninterrupted(asyncio.to_thread(delivery.make)), kind)
        except (CannotDeliver, OSError):
            return None

    def _sharing_trouble(self, miss: Miss) -> str:
        """Why others will have to make it again, though this client is to share it."""
        if miss.service is None or miss.call.settings.compile.read_only:
            return ""
        return self._sharing.trouble_with(miss.service)

    def _keep(self, miss: Miss, entry: Entry, blobs: Mapping[Digest, bytes]) -> None:
        """Keeps a result here, and begins to share it if this client may and others lack it."""
        self._keeping.put_blobs(blobs)
        is_new = entry is not miss.looked.hit
        manifest = self._hits.record(miss.call, miss.looked, entry)
        self._reasons.remember(miss.call)
        if is_new and miss.service is not None and not miss.call.settings.compile.read_only:
            self._sharing.begin(miss.service, miss.looked.key, manifest, entry)


def _delivered(call: Call, done: Finished, kind: OutcomeKind) -> Answer:
    outcome = Outcome(kind, call.compilation.source, call.compilation.output)
    return replace(done, outcome=outcome)


def _stays(local: Local, call: Call | None = None, details: tuple[str, ...] = ()) -> Local:
    outcome = Outcome(
        OutcomeKind.LOCAL,
        source=call.compilation.source if call else "",
        output=call.compilation.output if call else "",
        reason=local.reason,
        details=details,
    )
    return replace(local, outcome=outcome)
