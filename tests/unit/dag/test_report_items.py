"""The order and the names of the results in Snakemake's report."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gradfaith import registry
from gradfaith.dag import report_items
from gradfaith.dag.plan import Plan

TINY = Path(__file__).parents[2] / "workflow/tiny.yaml"


@pytest.fixture
def document() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(TINY.read_text())
    return read


def items(document: dict[str, Any], root: Path) -> dict[tuple[str, str], report_items.ReportItem]:
    return report_items.report_items(Plan.read(document, root))


@pytest.mark.parametrize("group", ["figures", "tables"])
def test_every_plugin_has_a_place_in_the_report(group: str) -> None:
    declared = {name: entry.declared for name, entry in registry.entries(group).items()}
    assert {said["section"] for said in declared.values()} <= set(report_items.SECTIONS[:-1])
    assert all(said["title"] and said["place"] < report_items.LAST_PLACE for said in declared.values())


def test_no_two_plugins_have_one_place() -> None:
    places = [
        (entry.declared["section"], entry.declared["place"])
        for group in ("figures", "tables")
        for entry in registry.entries(group).values()
    ]
    assert len(set(places)) == len(places)


def test_snakemake_s_alphabet_gives_the_order_of_reading(document: dict[str, Any], root: Path) -> None:
    found = items(document, root)
    order = sorted(found, key=lambda key: (found[key].category, found[key].labels["result"]))
    assert order[0] == ("tables", "summary")
    assert [name for _, name in order if name != "summary"][:4] == [
        "verdict", "classification", "confusion", "classification",
    ]  # fmt: skip
    assert list(dict.fromkeys(found[key].category for key in order)) == [
        "1. Summary", "2. Classification", "3. Example images", "4. Methods and controls", "5. Data and training",
    ]  # fmt: skip


def test_a_figure_under_a_label_of_the_study_carries_it(document: dict[str, Any], root: Path) -> None:
    labels = [f"panels_{letter}" for letter in "abcdefghijk"]
    document["figures"] = {label: {"use": "panels"} for label in labels}
    found = items(document, root)
    names = [found["figures", label].labels["result"] for label in labels]
    assert names == sorted(names)
    assert names[0] == "01. Images, maps and evidence: panels a"
    assert set(found) == {("figures", label) for label in ("audit", *labels)} | {
        ("tables", name) for name in ("classification", "maps", "pairs", "ranks", "summary", "verdict")
    }
