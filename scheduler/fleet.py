"""The workers that are known, in pools of equal platforms, and the choice among them."""

from xxhash import xxh3_64_digest

from .model import Properties, Worker
from .placement import Placement, choose
from .platform import matches

_MOST_CACHED_MATCHES = 4096


class Pool:
    """All known workers that offer exactly the same properties."""

    __slots__ = ("offered", "placement", "properties", "worker_ids")

    def __init__(self, properties: Properties) -> None:
        self.properties = properties
        self.offered = frozenset(properties)
        self.worker_ids: set[str] = set()
        self.placement = Placement(repr(properties).encode())


class Fleet:
    """Connected workers and those that are away for less than their grace time.

    Only workers that take leases are in the placement trees; call `refresh` when anything about a
    worker has changed that bears on this.
    """

    def __init__(self) -> None:
        self.workers: dict[str, Worker] = {}
        self.pools: dict[Properties, Pool] = {}
        self._matching: dict[Properties, tuple[Pool, ...]] = {}

    def add(self, worker: Worker) -> None:
        self.workers[worker.worker_id] = worker
        pool = self.pools.get(worker.properties)
        if pool is None:
            pool = self.pools[worker.properties] = Pool(worker.properties)
            self._matching.clear()
        pool.worker_ids.add(worker.worker_id)
        self.refresh(worker)

    def remove(self, worker: Worker) -> None:
        del self.workers[worker.worker_id]
        pool = self.pools[worker.properties]
        pool.worker_ids.remove(worker.worker_id)
        pool.placement.remove(worker.worker_id)
        if not pool.worker_ids:
            del self.pools[worker.properties]
            self._matching.clear()

    def refresh(self, worker: Worker) -> None:
        """Brings the placement tree in line with the worker's state."""
        placement = self.pools[worker.properties].placement
        if not worker.takes_leases:
            placement.remove(worker.worker_id)
            return
        if worker.worker_id not in placement:
            placement.add(worker.worker_id, worker.slots)
        placement.set_free(worker.worker_id, len(worker.leases) < worker.slots)

    def matching(self, required: Properties) -> tuple[Pool, ...]:
        """The pools whose workers can run what asks for `required`, in the order of their names."""
        pools = self._matching.get(required)
        if pools is None:
            pools = tuple(
                pool for _, pool in sorted(self.pools.items()) if matches(required, pool.offered)
            )
            if len(self._matching) >= _MOST_CACHED_MATCHES:
                self._matching.clear()
            self._matching[required] = pools
        return pools

    def choose(self, required: Properties, action: str) -> Worker | None:
        """The worker with a free slot that should run `action`; None when there is none."""
        pools = self.matching(required)
        worker_id = choose(xxh3_64_digest(action.encode()), [pool.placement for pool in pools])
        return None if worker_id is None else self.workers[worker_id]
