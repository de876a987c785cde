"""How old a cached result may be before it is a miss."""

from collections.abc import Callable, Mapping


class ResultLifetimes:
    """`ttl_seconds` holds for all results; `results_since` are times by instance name, before which
    results of that instance do not count, as if they had been deleted.
    """

    def __init__(
        self, now: Callable[[], int], *, ttl_seconds: int | None, results_since: Mapping[str, int]
    ) -> None:
        self._now = now
        self._ttl_seconds = ttl_seconds
        self._results_since = results_since

    def first_valid(self, instance_name: str) -> int:
        """Results that were stored earlier are misses, in seconds since 1970."""
        return max(self.first_unexpired(), self._results_since.get(instance_name, 0))

    def first_unexpired(self) -> int:
        """Results that were stored earlier will never be valid again, whatever the settings say."""
        return 0 if self._ttl_seconds is None else self._now() - self._ttl_seconds
