"""How long an action will take: guessed from those of the same target and mnemonic."""

from collections import OrderedDict

from .history import ObservedDuration

_MOST_KEYS = 100_000
_WEIGHT_OF_LATEST = 0.3


class ExpectedDurations:
    """Exponentially weighted means, of the keys that were of use last. Times in microseconds."""

    def __init__(self) -> None:
        self._means: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def observe(self, observed: ObservedDuration) -> None:
        """One more command ran so long."""
        instance_name, target, mnemonic, duration = observed
        if mnemonic:
            self._add((instance_name, mnemonic), duration)
        if target:
            self._add((instance_name, mnemonic, target), duration)

    def expected(self, instance_name: str, target: str, mnemonic: str) -> int:
        """What a command of that target and mnemonic takes, or of that mnemonic; 0 if unknown.

        Commands of which the client says neither have nothing in common.
        """
        for key in ((instance_name, mnemonic, target), (instance_name, mnemonic)):
            mean = self._means.get(key)
            if mean is not None:
                self._means.move_to_end(key)
                return max(1, round(mean))
        return 0

    def _add(self, key: tuple[str, ...], duration: int) -> None:
        mean = self._means.pop(key, float(duration))
        self._means[key] = mean + _WEIGHT_OF_LATEST * (duration - mean)
        if len(self._means) > _MOST_KEYS:
            self._means.popitem(last=False)
