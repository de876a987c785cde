"""A worker of a simulated fleet."""


class VirtualWorker:
    """A worker process, or the next one of that name. `leases` maps epochs to execution_ids."""

    __slots__ = ("is_connected", "is_wanted", "leases", "number", "session", "worker_id")

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker_id = f"worker-{number}"
        self.session = 0
        self.is_connected = False
        self.is_wanted = True
        self.leases: dict[int, str] = {}

    @property
    def session_id(self) -> str:
        return f"session-{self.session}"
