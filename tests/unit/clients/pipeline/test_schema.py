"""The committed schema is that of the model, and the example of the docs is a plan."""

import json
from pathlib import Path

from reapi.clients.pipeline.loading import load_plan
from reapi.clients.pipeline.model import Pipeline, Stage, schema
from reapi.clients.pipeline.plan import make_plan
from reapi.clients.pipeline.rules import Change

ROOT = Path(__file__).parents[4]
PLAN = ROOT / "examples/pipeline/plan.yaml"


def test_the_committed_schema_is_fresh() -> None:
    committed = ROOT / "docs/pipeline.schema.json"
    assert json.loads(committed.read_text()) == json.loads(json.dumps(schema())), (
        "run: reapi-cli pipeline schema > docs/pipeline.schema.json"
    )


def test_every_key_is_described_for_editors_and_in_the_guide() -> None:
    guide = (ROOT / "docs/pipelines.md").read_text()
    for model in (Pipeline, Stage):
        for name, field in model.model_fields.items():
            assert field.description
            assert f"`{field.alias or name}`" in guide


def test_the_example_names_its_schema_and_is_a_plan() -> None:
    first = PLAN.read_text().splitlines()[0]
    relative = first.removeprefix("# yaml-language-server: $schema=")
    assert (PLAN.parent / relative).resolve() == ROOT / "docs/pipeline.schema.json"
    plan = make_plan(load_plan(PLAN), Change("main", "push"), "hello")
    assert plan.actions == 11
