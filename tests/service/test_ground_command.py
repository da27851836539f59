"""`riddle eval ground` with the shipped weights: held-apart figures do not fall below what the model's card claims."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from services.cli import build_app
from services.models import verify
from tests.requires import need

FLOORS = {"scifact": 0.72, "squad": 0.90, "cmrc2018": 0.90, "drcd": 0.83}
"""Balanced accuracy of supported against the rest; a sample scatters, so that they lie below the card's figures."""


@pytest.mark.slow
def test_the_shipped_model_reaches_its_floor_on_what_it_was_not_trained_on() -> None:
    home = need.home("riddle-grounding")
    root = need.data("scifact").parent
    flags = ["--dataset-root", str(root), "--limit", "240", "--home", str(home), "--json"]
    done = CliRunner().invoke(build_app(), ["eval", "ground", *flags])
    assert done.exit_code == 0, done.output
    said = json.loads(done.output.splitlines()[-1])
    found = {each["name"]: each["two_way"] for each in said["sets"]}
    assert {name: value for name, value in found.items() if value < FLOORS[name]} == {}
    assert found.keys() == FLOORS.keys()
    assert said["ms_a_statement"] > 0


@pytest.mark.slow
def test_the_shipped_model_is_whole_and_says_what_it_was_made_from() -> None:
    home = need.home("riddle-grounding")
    files = verify("riddle-grounding", home)
    assert (files.kind, files.languages) == ("grounder", ("en", "zh"))
    said = json.loads((files.path / "riddle-model.json").read_text(encoding="utf-8"))
    assert said["base"] == "multilingual-e5-small"
    assert [each["name"] for each in said["made_from"]] == ["adapter.safetensors"]
