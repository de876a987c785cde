"""From pipelines, rules and matrices to jobs."""

from pathlib import Path

import pytest

from reapi.clients.pipeline import plan as plan_module
from reapi.clients.pipeline.drawing import drawn
from reapi.clients.pipeline.rules import Change
from reapi.core.errors import InvalidArgument
from tests.unit.clients.pipeline.plans import labels, plan_of


def test_a_matrix_is_a_job_for_each_combination_with_its_values_in_all_texts(
    tmp_path: Path,
) -> None:
    plan = plan_of(
        tmp_path,
        """
        env: {LANG: C, MODE: none}
        platform: {OSFamily: linux}
        stages:
          build:
            matrix: {unit: [a, b], mode: [fast, slow]}
            inputs: ["src/${matrix.unit}.c"]
            outputs: ["out/${matrix.mode}/${matrix.unit}.o"]
            env: {MODE: "${matrix.mode}"}
            platform: {flavor: "${matrix.mode}"}
            commands: ["cc ${matrix.unit}.c", [echo, "${matrix.mode}", "$HOME ${HOME}"]]
            timeout: 5
            retries: 1
        """,
    )
    assert labels(plan.jobs) == [
        f"build[unit={unit}, mode={mode}]" for unit in "ab" for mode in ("fast", "slow")
    ]
    job = plan.jobs[1]
    assert job.inputs == ("src/a.c",)
    assert job.outputs == ("out/slow/a.o",)
    assert job.environment == {"LANG": "C", "MODE": "slow"}
    assert job.platform == (("OSFamily", "linux"), ("flavor", "slow"))
    assert job.commands == (("/bin/sh", "-ec", "cc a.c"), ("echo", "slow", "$HOME ${HOME}"))
    assert (job.timeout_seconds, job.retries, job.repository) == (5, 1, "team/app")
    assert plan.actions == 8


def test_jobs_come_after_those_that_they_need_whatever_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    plan = plan_of(
        tmp_path,
        """
        stages:
          last: {needs: [middle], commands: [x]}
          middle: {from: {first: [out]}, commands: [x]}
          first: {outputs: [out], commands: [x]}
        """,
    )
    assert labels(plan.jobs) == ["first", "middle", "last"]
    assert labels(plan.jobs[2].needs) == ["middle"]
    assert plan.jobs[1].taken[0].paths == ("out",)


def test_axes_of_the_same_name_agree_and_others_take_all(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        """
        stages:
          compile: {matrix: {mode: [fast, slow], unit: [a, b]}, outputs: [out], commands: [x]}
          link: {matrix: {mode: [fast, slow]}, from: {compile: [out]}, commands: [x]}
        """,
    )
    assert labels(plan.jobs[-1].needs) == [
        "compile[mode=slow, unit=a]",
        "compile[mode=slow, unit=b]",
    ]


RULED = """
rules: {branch: [main, "release/*"]}
stages:
  build: {outputs: [out], commands: [x]}
  docs: {rules: {path: docs}, outputs: [site], commands: [x]}
  announce: {needs: [docs], rules: {event: push}, commands: [x]}
  publish: {from: {docs: [site]}, rules: {tag: "v*"}, commands: [x]}
"""


@pytest.mark.parametrize(
    ("change", "jobs", "left_out"),
    [
        (
            Change("dev", "push", None, ("src/a.c",)),
            [],
            {"plan": "branch 'dev', not main or release/*"},
        ),
        (
            Change(None, "push", "v1", None),
            [],
            {"plan": "no branch, not main or release/*"},
        ),
        (
            Change("release/2", "push", "v1", ("docs/a.md",)),
            ["build", "docs", "announce", "publish"],
            {},
        ),
        (
            Change("main", "pull_request", "v1", ("src/a.c",)),
            ["build"],
            {
                "docs": "nothing changed in docs",
                "announce": "event 'pull_request', not push",
                "publish": "there is no job of 'docs' to take artifacts from",
            },
        ),
        (
            # Who only waits for a stage goes on when that has nothing to do.
            Change("main", "push", None, ()),
            ["build", "announce"],
            {"docs": "nothing changed in docs", "publish": "no tag, not v*"},
        ),
        (
            # Where git cannot tell, everything may have changed.
            Change("main", "push", None, None),
            ["build", "docs", "announce"],
            {"publish": "no tag, not v*"},
        ),
    ],
)
def test_rules_leave_out_pipelines_and_stages_with_a_reason(
    tmp_path: Path, change: Change, jobs: list[str], left_out: dict[str, str]
) -> None:
    plan = plan_of(tmp_path, RULED, change)
    assert sorted(labels(plan.jobs)) == sorted(jobs)
    assert {one.label: one.reason for one in plan.left_out} == left_out


def test_rules_leave_out_jobs_by_the_values_of_their_matrix(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        """
        stages:
          test:
            matrix: {os: [linux, mac], python: ["3.11", "3.12"]}
            rules: {matrix: {os: linux, python: "3.1[2-9]"}}
            commands: [x]
        """,
    )
    assert labels(plan.jobs) == ["test[os=linux, python=3.12]"]
    assert plan.left_out[0].label == "test[os=linux, python=3.11]"
    assert plan.left_out[1].reason == "os 'mac', not linux"


def test_several_pipelines_have_their_names_before_their_jobs(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        """
        metadata: {name: one}
        max_parallel: 5
        stages: {s: {commands: [x]}}
        ---
        metadata: {name: two}
        repository: other/app
        max_parallel: 7
        stages: {s: {commands: [x]}}
        ---
        metadata: {name: three}
        max_parallel: 3
        stages: {s: {commands: [x]}}
        """,
    )
    assert labels(plan.jobs) == ["one/s", "two/s", "three/s"]
    assert plan.most_at_once == {"team/app": 3, "other/app": 7}


def test_jobs_that_need_each_other_too_often_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_module, "_MOST_EDGES", 3)
    text = """
    stages:
      a: {matrix: {x: ["1", "2"]}, commands: [x]}
      b: {matrix: {y: ["1", "2"]}, needs: [a], commands: [x]}
    """
    with pytest.raises(InvalidArgument, match=r"more than 3 times, the last of them b\[y=2\]"):
        plan_of(tmp_path, text)


def test_the_graph_is_drawn_level_by_level(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        """
        stages:
          compile: {matrix: {unit: [a, b]}, outputs: ["${matrix.unit}.o"], commands: [x]}
          lint: {commands: [x]}
          link:
            from: {compile: ["*.o"]}
            needs: [lint]
            outputs: [app]
            download: [app]
            commands: [x, y]
          deploy: {rules: {branch: main}, commands: [x]}
        """,
    )
    assert list(drawn(plan)) == [
        "3 stages, 4 jobs, 5 actions",
        "level 1",
        "  compile  x2",
        "    - compile[unit=a]",
        "    - compile[unit=b]",
        "    -> a.o ...",
        "  lint",
        "level 2",
        "  link",
        "    <- compile: *.o",
        "    <- lint: (only waits for it)",
        "    -> app",
        "    => downloads app",
        "left out: deploy (no branch, not main)",
    ]
