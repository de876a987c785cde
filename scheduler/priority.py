"""REAPI priorities: lower numbers are more urgent, and a hundred less are twice the share."""

from functools import lru_cache

HIGHEST_PRIORITY, LOWEST_PRIORITY = -1000, 1000
"""The range that is advertised."""


def clamped(priority: int) -> int:
    """The priority within the range that is advertised."""
    return max(HIGHEST_PRIORITY, min(priority, LOWEST_PRIORITY))


@lru_cache(maxsize=4096)
def scale(priority: int) -> int:
    """2 ** (priority / 100) in units of 2 ** -20, in whole numbers: no machine rounds otherwise."""
    exponent = 2000 + clamped(priority)
    low, high = 1 << exponent // 100, 2 << exponent // 100
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**100 <= 1 << exponent else (low, middle)
    return low
