"""Exact platform matching (EX20)."""

from reapi.scheduler.platform import matches, no_worker_fits


def test_names_and_values_are_compared_exactly() -> None:
    offered = (("ISA", "x86-64"), ("OSFamily", "linux"))
    assert matches((), offered)
    assert matches((("OSFamily", "linux"),), offered)
    assert not matches((("OSFamily", "Linux"),), offered)
    assert not matches((("osfamily", "linux"),), offered)
    assert not matches((("Pool", "x"),), offered)


def test_a_name_asked_for_twice_must_be_offered_with_both_values() -> None:
    required = (("ISA", "avx"), ("ISA", "sse"))
    assert matches(required, (("ISA", "avx"), ("ISA", "neon"), ("ISA", "sse")))
    assert not matches(required, (("ISA", "avx"),))


def test_the_reason_names_what_is_unmet_what_there_is_and_who_is_nearest() -> None:
    outcome = no_worker_fits(
        (("Pool", "gpu"), ("OSFamily", "linux"), ("ISA", "arm")),
        (),
        [((("OSFamily", "windows"),), ()), ((("ISA", "x86"), ("OSFamily", "linux")), ())],
    )
    assert [violation.subject for violation in outcome.violations] == ["Pool=gpu", "ISA=arm"]
    assert "no worker offers any Pool" in outcome.message
    assert "the fleet offers ISA=x86" in outcome.message
    assert (
        "The nearest queue is that of workers that offer ISA=x86, OSFamily=linux."
        in outcome.message
    )


def test_amounts_that_no_worker_has_are_named_with_the_most_that_there_is() -> None:
    gibibyte = 1 << 30
    outcome = no_worker_fits(
        (("OSFamily", "linux"),),
        (("cpu", 2500), ("licence", 3), ("memory", 8 * gibibyte), ("gpu", 1)),
        [
            ((("OSFamily", "linux"),), (("cpu", 2000), ("memory", 4 * gibibyte))),
            ((("OSFamily", "linux"),), (("cpu", 1500), ("memory", 16 * gibibyte))),
        ],
        shared=(("licence", 2),),
    )
    assert [(one.subject, one.description) for one in outcome.violations] == [
        ("resource.cpu=2500m", "the most that the fleet has in one place is 2"),
        ("resource.licence=3", "the most that the fleet has in one place is 2"),
        ("resource.gpu=1", "no worker has any gpu"),
    ]
