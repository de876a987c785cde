"""Changes of the journal that wait for a commit over the network."""

from dataclasses import dataclass, field

from .journal_store import EventRow, FinishedRow, SnapshotRow


@dataclass
class Changes:
    """In their order; `expired` is as in JournalStore.expire."""

    events: list[EventRow] = field(default_factory=list)
    finished: list[FinishedRow] = field(default_factory=list)
    amended: dict[str, bytes] = field(default_factory=dict)
    expired: tuple[int, int] | None = None
    snapshot: SnapshotRow | None = None

    def fold(self, snapshot: SnapshotRow) -> None:
        """The snapshot holds what the events up to it have done; they need not be kept."""
        self.snapshot = snapshot
        self.events = [row for row in self.events if row.sequence > snapshot.sequence]

    def followed_by(self, later: "Changes") -> "Changes":
        """These and later ones as one."""
        both = Changes(
            self.events + later.events,
            self.finished + later.finished,
            self.amended | later.amended,
            later.expired or self.expired,
            self.snapshot,
        )
        if later.snapshot is not None:
            both.fold(later.snapshot)
        return both
