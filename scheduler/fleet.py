"""The workers that are known, in pools of equal offers, and the lanes that they serve."""

from .falls import Falls
from .lane import Lane, LaneKey
from .model import Execution, Properties, Resources, Worker
from .platform import matches
from .policy import MODULO, Policy
from .pool import Pool, PoolKey
from .resources import fits, give_back, split, take
from .roster import Roster

_MOST_UNUSED_LANES = 32


class Fleet:
    """Connected workers and those that are away for less than their grace time.

    Only workers that take leases are in the rings of lanes. Call `refresh` when this has changed
    for a worker, and `update_rooms` when only its leases have.
    """

    def __init__(self, policy: Policy, executions: dict[str, Execution], falls: Falls) -> None:
        self.policy = policy
        self.workers: dict[str, Worker] = {}
        self.pools: dict[PoolKey, Pool] = {}
        self.lanes: dict[LaneKey, Lane] = {}
        self.rosters: dict[Roster, None] = {}
        self.token_lanes: dict[LaneKey, Lane] = {}
        self.tokens = dict(policy.fleet_resources)
        self.ordinals: dict[int, str] = {}
        self._is_modulo = policy.placement == MODULO
        self._shared = frozenset(name for name, _ in policy.fleet_resources)
        self._executions = executions
        self._falls = falls
        self._unused: dict[LaneKey, None] = {}
        self._lanes_ever = 0

    # Workers

    def add(self, worker: Worker) -> None:
        """A worker with the leases that it has already."""
        key = (worker.properties, worker.resources, self._claim_ordinal(worker))
        pool = self.pools.get(key)
        if pool is None:
            pool = self.pools[key] = Pool(key)
            for roster in list(self.rosters):
                self._serve(roster, pool)
        self.workers[worker.worker_id] = worker
        pool.workers[worker.worker_id] = worker
        pool.slots += worker.slots
        pool.leases += len(worker.leases)
        worker.pool = pool
        worker.free = dict(worker.resources)
        for resources in worker.booked.values():
            self._take(worker, resources)
        self.refresh(worker)

    def remove(self, worker: Worker) -> None:
        """Forgets a worker and the books of its leases."""
        del self.workers[worker.worker_id]
        for resources in worker.booked.values():
            give_back(split(resources, self._shared)[1], self.tokens)
        pool = worker.pool
        for roster in pool.rosters:
            self._leave(roster, worker.worker_id)
        del pool.workers[worker.worker_id]
        pool.slots -= worker.slots
        pool.leases -= len(worker.leases)
        if not pool.workers:
            del self.pools[pool.key]
            for roster in pool.rosters:
                roster.pools.remove(pool)
        if self.ordinals.get(worker.ordinal) == worker.worker_id:
            del self.ordinals[worker.ordinal]

    def _claim_ordinal(self, worker: Worker) -> int:
        """The place of a worker under placement by modulo; -1 if it has none, or another has it.

        Two workers can only be known with the same ordinal if they were so before that placement.
        """
        if self._is_modulo and worker.ordinal >= 0:
            holder = self.ordinals.setdefault(worker.ordinal, worker.worker_id)
            if holder == worker.worker_id:
                return worker.ordinal
        return -1

    def has_tokens(self, lane: Lane | Roster) -> bool:
        """Whether the fleet has the shared tokens that one more execution there takes."""
        return not lane.tokens or fits(lane.tokens, self.tokens)

    def refresh(self, worker: Worker) -> None:
        """Brings the rings in line with whether the worker takes leases."""
        worker_id = worker.worker_id
        for roster in worker.pool.rosters:
            if not worker.takes_leases:
                self._leave(roster, worker_id)
            elif worker_id not in roster.ring:
                roster.ring.add(worker_id, worker.slots)
        self.update_rooms(worker)

    def update_rooms(self, worker: Worker) -> None:
        """Brings the rings in line with whether the worker has room for one more lease."""
        worker_id = worker.worker_id
        has_slot = (
            len(worker.leases) < worker.slots and worker.takes_leases and not worker.reserved_for
        )
        for roster in worker.pool.rosters:
            has_room = has_slot and (not roster.needs or fits(roster.needs, worker.free))
            if has_room != (worker_id in roster.rooms):
                roster.set_room(worker_id, has_room)

    def book(self, worker: Worker, execution: Execution, epoch: int) -> None:
        """A worker gets a lease; see `update_rooms`."""
        worker.leases[epoch] = execution.execution_id
        worker.pool.leases += 1
        if execution.resources:
            worker.booked[epoch] = execution.resources
            self._take(worker, execution.resources)

    def release(self, worker: Worker, epoch: int) -> bool:
        """A worker is done with a lease; False if it does not have it. See `update_rooms`."""
        if worker.leases.pop(epoch, None) is None:
            return False
        worker.pool.leases -= 1
        resources = worker.booked.pop(epoch, None)
        if resources:
            own, tokens = split(resources, self._shared)
            give_back(own, worker.free)
            give_back(tokens, self.tokens)
        return True

    def _take(self, worker: Worker, resources: Resources) -> None:
        own, tokens = split(resources, self._shared)
        take(own, worker.free)
        take(tokens, self.tokens)

    # Lanes

    def lane(self, properties: Properties, resources: Resources, action: str) -> Lane:
        """The lane for what is asked for, new or known."""
        owner = owner_of(action, self.policy.expected_workers) if self._is_modulo else -1
        return self.lane_of((properties, resources, owner))

    def lane_of(self, key: LaneKey) -> Lane:
        """The lane of that key, new or known."""
        lane = self.lanes.get(key)
        if lane is None:
            lane = self.lanes[key] = self._new_lane(key)
        return lane

    def known_lanes(self) -> list[Lane]:
        """All lanes, those first in which something waits; then the longest unused come first."""
        used = sorted(key for key in self.lanes if key not in self._unused)
        return [self.lanes[key] for key in (*used, *self._unused)]

    def _new_lane(self, key: LaneKey) -> Lane:
        properties, resources, owner = key
        needs, tokens = split(resources, self._shared)
        is_declared = fits(tokens, dict(self.policy.fleet_resources)) and any(
            matches(properties, offered) and fits(needs, dict(totals))
            for offered, totals in self.policy.pools
        )
        self._lanes_ever += 1
        lane = Lane(
            key, self._lanes_ever, needs, tokens, is_declared, self._executions, self._falls
        )
        pools = list(self.pools.values())
        if self._is_modulo:
            present = self.workers.get(self.ordinals.get(owner, ""))
            pools = [present.pool] if present is not None else []
        self._roster(needs, tokens, [pool for pool in pools if pool.could_run(lane)]).join(lane)
        if tokens:
            self.token_lanes[key] = lane
        self.set_used(lane)
        return lane

    def set_used(self, lane: Lane) -> None:
        """To be called when a lane may have become empty, or is no longer."""
        if lane.is_used:
            self._unused.pop(lane.key, None)
            return
        self._unused[lane.key] = None
        if len(self._unused) > _MOST_UNUSED_LANES + self.policy.expected_workers:
            self._forget(next(iter(self._unused)))

    def _forget(self, key: LaneKey) -> None:
        del self._unused[key]
        lane = self.lanes.pop(key)
        self.token_lanes.pop(key, None)
        roster = lane.roster
        roster.leave(lane)
        if not roster.lanes:
            del self.rosters[roster]
            for pool in roster.pools:
                pool.rosters.remove(roster)

    def is_possible(self, lane: Lane) -> bool:
        """Whether a known worker or a declared pool could run what waits there.

        With placement by modulo an owner that is absent is thought to be like the others.
        """
        if lane.is_declared or (lane.pools and not lane.tokens):
            return True
        if not fits(lane.tokens, dict(self.policy.fleet_resources)):
            return False
        if lane.pools:
            return True
        return (
            lane.owner >= 0
            and lane.owner not in self.ordinals
            and any(
                matches(lane.properties, pool.offered) and fits(lane.needs, pool.totals)
                for pool in self.pools.values()
            )
        )

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of what it will be: no worker yet, and no pool is declared."""
        return not self.workers and not self.policy.pools

    def offers(self, lane: Lane) -> list[tuple[Properties, Resources]]:
        """The different things that workers and pools offer that might serve the lane, sorted."""
        owner = self.workers.get(self.ordinals.get(lane.owner, ""))
        if owner is not None:
            return [(owner.properties, owner.resources)]
        known = {(properties, resources) for properties, resources, _ in self.pools}
        return sorted(known | set(self.policy.pools))

    # Rosters

    def _roster(self, needs: Resources, tokens: Resources, pools: list[Pool]) -> Roster:
        """One for lanes that need so much of those pools, new or known.

        In the middle of an event a known one may not say yet what room there is, as a new one does.
        """
        for roster in pools[0].rosters if pools else self.rosters:
            own = (roster.needs, roster.tokens, roster.pools)
            if own == (needs, tokens, pools) and roster.is_settled:
                return roster
        roster = self._new_roster(needs, tokens, pools)
        for pool in pools:
            for worker in pool.workers.values():
                if worker.takes_leases:
                    roster.ring.add(worker.worker_id, worker.slots)
                    if roster.could_take(worker):
                        roster.set_room(worker.worker_id, True)
        return roster

    def _new_roster(self, needs: Resources, tokens: Resources, pools: list[Pool]) -> Roster:
        roster = Roster(needs, tokens, pools, self._falls)
        self.rosters[roster] = None
        for pool in pools:
            pool.rosters.append(roster)
        return roster

    def _serve(self, roster: Roster, pool: Pool) -> None:
        """A new pool comes to what can run a roster; lanes that it cannot run stay behind."""
        lanes = list(roster.lanes.values())
        able = [lane for lane in lanes if pool.could_run(lane)]
        if not able:
            return
        if len(able) < len(lanes):
            apart = self._new_roster(roster.needs, roster.tokens, list(roster.pools))
            for worker_id in roster.ring:
                apart.ring.add(worker_id, self.workers[worker_id].slots)
            for worker_id in sorted(roster.rooms):
                apart.set_room(worker_id, True)
            for lane in able:
                roster.leave(lane)
                apart.join(lane)
            roster = apart
        roster.pools.append(pool)
        pool.rosters.append(roster)

    def _leave(self, roster: Roster, worker_id: str) -> None:
        if worker_id in roster.ring:
            roster.ring.remove(worker_id)
            roster.rooms.discard(worker_id)


def owner_of(action: str, expected_workers: int) -> int:
    """The ordinal of the worker that runs an action, by modulo of the hash in its name."""
    return int(action.rsplit("/", 2)[-2], 16) % expected_workers
