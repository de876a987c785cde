"""A bounded memory of what was used last."""

from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """A mapping that forgets what was not used for longest; `largest_weight` bounds all of it.

    It keeps two generations, and forgets the older one whole when the younger one is half of what
    is allowed: a look-up costs little more than that of a dict.
    """

    __slots__ = ("_half", "_old", "_weight", "_young")

    def __init__(self, largest_weight: int) -> None:
        self._half = largest_weight // 2
        self._young: dict[Key, tuple[Value, int]] = {}
        self._old: dict[Key, tuple[Value, int]] = {}
        self._weight = 0

    def get(self, key: Key) -> Value | None:
        """What was put there, unless it is forgotten."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is None:
                return None
            self.put(key, *found)
        return found[0]

    def put(self, key: Key, value: Value, weight: int = 1) -> None:
        """Remembers it instead of what was there."""
        replaced = self._young.pop(key, None)
        if replaced is not None:
            self._weight -= replaced[1]
        elif self._weight + weight > self._half:
            self._old, self._young, self._weight = self._young, {}, 0
        self._old.pop(key, None)
        self._young[key] = value, weight
        self._weight += weight

    def forget(self, key: Key) -> None:
        """Forgets one, if it is there."""
        replaced = self._young.pop(key, None)
        if replaced is not None:
            self._weight -= replaced[1]
        self._old.pop(key, None)

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
