"""The studies that are shipped: on data that is computed, what they say of it passes their own gate; the others can be planned."""

import pytest
import yaml
from workspace import ROOT, Workspace

ALL = sorted(study.name for study in (ROOT / "config/studies").glob("*.yaml"))
COMPUTED = sorted(
    study.name
    for study in (ROOT / "config/studies").glob("*.yaml")
    if (yaml.safe_load(study.read_text()).get("dataset") or {}).get("name") == "phantom"
)


def test_some_are_shipped() -> None:
    assert {"shortcut.yaml", "families.yaml"} <= set(COMPUTED)


@pytest.mark.parametrize("study", COMPUTED)
def test_its_data_passes_its_gate(study: str, fresh: Workspace) -> None:
    document = yaml.safe_load((ROOT / "config/studies" / study).read_text())
    (fresh.folder / "tiny.yaml").write_text(yaml.safe_dump(document))
    gate = f"results/{document['study']}/data/gate.json"
    fresh.snakemake(gate, "--cores", "2")
    assert (fresh.folder / gate).exists()


@pytest.mark.parametrize("study", sorted(set(ALL) - set(COMPUTED)))
def test_it_is_planned_to_its_end(study: str, fresh: Workspace) -> None:
    """Those whose data is fetched, or a base's, which is planned with them."""
    planned = Workspace(fresh.folder, f"config/studies/{study}").planned()
    assert planned["train"]
    assert planned["provenance"] == 1
