"""Promises by the clock, and the filter of hashes."""

from reapi.cas.presence import HashFilter, Presence
from reapi.core.digest import digest_of
from tests.fakes.local_storage import ManualClock

STORED = digest_of(b"stored")
OTHER = digest_of(b"other")


def test_a_touch_promises_at_least_the_retention_time() -> None:
    clock = ManualClock()
    for retention_seconds in (1, 60, 3600, 24 * 3600, 30 * 24 * 3600):
        presence = Presence(clock, retention_seconds)
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
    presence = Presence(clock, 24 * 3600)
    epoch = presence.epoch()
    clock.seconds += 3599
    assert presence.epoch() == epoch
    clock.seconds += 1
    later = presence.epoch()
    assert later != epoch
    presence.lost()
    assert presence.epoch() != later


def test_the_filter_rules_out_what_was_never_added() -> None:
    hash_filter = HashFilter()
    hash_filter.add_keys([STORED.key])
    assert hash_filter.possible_keys([STORED.key, OTHER.key]) == [STORED.key, OTHER.key]
    hash_filter.is_complete = True
    assert hash_filter.possible_keys([STORED.key, OTHER.key]) == [STORED.key]
    texts = [b">" + digest.hash.encode() for digest in (STORED, OTHER)]
    assert hash_filter.possible_texts(texts, 1) == texts[:1]
