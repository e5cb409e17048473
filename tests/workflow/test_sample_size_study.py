"""`gradfaith sample-size --from` plans with the numbers that the verdict of the study has."""

import json
import subprocess
import sys

import pytest
from workspace import Workspace

pytestmark = [pytest.mark.end_to_end, pytest.mark.xdist_group("workflow")]  # the finished study is made once

COMMAND = ("gradfaith.cli.main", "sample-size", "--patients", "24", "--seeds", "1", "2", "--json", "--from")


def test_a_plan_has_every_number_of_the_verdict(finished: Workspace) -> None:
    command = [sys.executable, "-m", *COMMAND, finished.study]
    environment = {**finished.environment, "PYTHONPATH": str(finished.folder / "workflow")}
    done = subprocess.run(command, cwd=finished.folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    planned = {(number["gate"], number["part"]): number for number in plan["numbers"]}
    verdict = json.loads((finished.results / "verdict.json").read_text())
    compared = 0
    for method in verdict["methods"]:
        for gate in method["gates"] if method["method"] == "gradcam" else ():
            for part in gate["parts"] if gate["name"] != "missing_maps" else ():
                name = ", ".join(filter(None, (method["arch"], part["name"])))
                number = planned[gate["name"], name]
                assert number["value"] == pytest.approx(part["value"], abs=1e-6), name
                assert number["margin"] == gate["margin"]
                compared += 1
    assert compared == len(planned) >= 20
    assert {gate for design in plan["designs"] for gate in design["gates"]} == {gate for gate, _ in planned}
