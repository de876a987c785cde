"""Promises by the clock, and the epoch within which a known presence holds."""

from reapi.cas.presence import Presence
from tests.fakes.local_storage import ManualClock


def test_a_touch_promises_at_least_the_retention_time() -> None:
    clock = ManualClock()
    for retention_seconds in (1, 60, 3600, 24 * 3600, 30 * 24 * 3600):
        presence = Presence(clock, retention_seconds, lambda: 0)
        for start in range(clock.seconds, clock.seconds + 7200, 601):
            clock.seconds = start
            stamp = presence.stamp()
            clock.seconds = start + retention_seconds
            assert stamp > presence.last_expired_stamp()
            clock.seconds = start + retention_seconds + 3600
            assert stamp <= presence.last_expired_stamp()


def test_an_epoch_ends_with_its_hour_and_with_a_loss() -> None:
    clock = ManualClock()
    clock.seconds -= clock.seconds % 3600
    losses = 0
    presence = Presence(clock, 24 * 3600, lambda: losses)
    epoch = presence.epoch()
    clock.seconds += 3599
    assert presence.epoch() == epoch
    losses = 1
    assert presence.epoch() != epoch
    epoch = presence.epoch()
    clock.seconds += 1
    assert presence.epoch() != epoch


def test_no_epoch_equals_another_while_nobody_can_say_what_was_lost() -> None:
    presence = Presence(ManualClock(), 24 * 3600, lambda: None)
    assert presence.epoch() != presence.epoch()
