"""The studies that are shipped, on data that is computed: what they say of it passes their own gate."""

import pytest
import yaml
from workspace import ROOT, Workspace

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
