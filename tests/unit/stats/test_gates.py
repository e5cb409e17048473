"""A gate passes, fails or is undecided by its interval and its margin; one gate is recomputed by plain loops."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted_study import RULES
from scipy.stats import t as student
from whole_scores import contrasts_of

from gradfaith.stats import gates
from gradfaith.stats.estimates import estimate_scores
from gradfaith.stats.gates import FAIL, PASS, Gate, GateTables
from gradfaith.stats.interval_scales import Bounds, IntervalRule
from gradfaith.stats.intervals import CONSTANT
from gradfaith.vocabulary import NOT_TESTABLE, UNDECIDED

ROW = {
    "value": 0.4,
    "low": 0.2,
    "high": 0.6,
    "n_images": 40,
    "n_groups": 20,
    "n_seeds": 3,
    "reason": "",
    "interval": "t over groups",
}
METRIC, BEST = "saliency_score", "uniform"


@pytest.mark.parametrize(
    ("relation", "margin", "status"),
    [
        (">", 0.1, PASS), (">", 0.2, UNDECIDED), (">", 0.6, FAIL), (">=", 0.2, PASS), (">=", 0.6, UNDECIDED), (">=", 0.7, FAIL),
        ("<", 0.7, PASS), ("<", 0.6, UNDECIDED), ("<", 0.2, FAIL), ("<=", 0.6, PASS), ("<=", 0.2, UNDECIDED), ("<=", 0.1, FAIL),
    ],
)  # fmt: skip
def test_the_whole_interval_decides(relation: gates.Relation, margin: float, status: gates.GateStatus) -> None:
    assert gates.compare_interval(0.2, 0.6, margin, relation) == status


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        ([PASS, UNDECIDED, NOT_TESTABLE, FAIL], FAIL), ([PASS, UNDECIDED, NOT_TESTABLE], NOT_TESTABLE),
        ([PASS, UNDECIDED], UNDECIDED), ([PASS, PASS], PASS),
    ],
)  # fmt: skip
def test_the_worst_part_decides(statuses: list[gates.GateStatus], worst: gates.GateStatus) -> None:
    assert gates.worst_status(statuses) == worst


def test_an_undecided_part_says_how_many_groups_would_decide_it() -> None:
    part = gates.judge_part("centre", ROW, 0.3, ">", 8)
    assert (part.status, part.groups_needed, part.seeds_needed) == (UNDECIDED, 80, None)  # 20 (0.2 / 0.1)^2
    above = gates.judge_part("centre", {**ROW, "interval": "t over groups and seeds"}, 0.45, ">", 8)
    assert (above.groups_needed, above.seeds_needed) == (320, 48)  # (0.2 / 0.05)^2 = 16
    assert gates.judge_part("centre", ROW, 0.4, ">", 8).groups_needed is None


def test_a_constant_difference_is_its_own_interval() -> None:
    row = {**ROW, "value": 0.0, "low": np.nan, "high": np.nan, "reason": CONSTANT}
    assert gates.judge_part("normal", row, 0.0, ">", 8).status == FAIL
    assert gates.judge_part("normal", {**row, "value": 0.1}, 0.0, ">", 8).status == PASS


def test_without_an_interval_or_a_value_nothing_is_decided() -> None:
    few = {**ROW, "low": np.nan, "high": np.nan, "n_groups": 4, "reason": "4 groups, an interval needs 8"}
    part = gates.judge_part("", few, 0.0, ">", 8)
    assert (part.status, part.groups_needed, part.low) == (UNDECIDED, 8, None)
    none = {**few, "value": np.nan}
    assert gates.judge_part("", none, 0.0, ">", 8).status == NOT_TESTABLE


def scores(metric: str = METRIC, groups: int = 12, sign: float = 1.0) -> pd.DataFrame:
    """Return scores of one model: two images a group, of a method, two controls and one that is always the best possible."""
    rows = []
    for number in range(groups):
        for image in range(2):
            draw = np.random.default_rng([number, image])
            values = {"cam": 0.6, "centre": 0.3, "edges": 0.45}
            drawn = {name: float(np.clip(mean + draw.normal(0, 0.12), 0, 1)) for name, mean in values.items()}
            drawn = {name: value if sign > 0 else 1 - value for name, value in drawn.items()}
            drawn |= {BEST: 1.0 if sign > 0 else 0.0}
            rows += [
                {"image_id": f"{number}-{image}", "group": str(number), "method": name, "value": value}
                for name, value in drawn.items()
            ]
    fixed = {"arch": "net", "seed": 0, "arch2": "", "seed2": pd.NA, "copy": 0, "layer": "", "target": "true", "metric": metric,
             "variant": "", "label": "lesion", "status": "ok", "reason": ""}  # fmt: skip
    return pd.DataFrame(rows).assign(**fixed)


def localization_gate(table: pd.DataFrame, better: str = "higher") -> Gate:
    rule = IntervalRule(bounds={METRIC: Bounds(0, 1)})
    controls = ["centre", "edges", BEST]
    contrasts = contrasts_of(table, controls, {METRIC: better}, rule=rule)
    none = {gate: "not here" for gate in gates.RELATIONS if gate != "localization"}
    rules = replace(RULES, untested=none, better={METRIC: better}, controls=controls, bounds=rule.bounds)
    nothing = pd.DataFrame({"arch": [], "metric": [], "class": []})
    tables = GateTables(nothing, estimate_scores([table], rule=rule), contrasts)
    found = {gate.name: gate for gate in gates.run_gates(tables, "net", "cam", rules)}
    assert {found[name].status for name in none} == {NOT_TESTABLE}
    assert {found[name].reason for name in none} == {"not here"}
    return found["localization"]


def test_the_localization_gate_by_plain_loops() -> None:
    """The mean difference, its jackknife over groups of equal size, and the logit interval on [-1, 1]."""
    table = scores()
    gate = localization_gate(table)
    by_name = {part.name: part for part in gate.parts}
    assert set(by_name) == {"centre", "edges"}
    worst = math.inf
    for control, part in by_name.items():
        value = {(row.image_id, row.method): row.value for row in table.itertuples()}
        difference: dict[str, list[float]] = {}
        for row in table[table["method"] == "cam"].itertuples():
            difference.setdefault(row.group, []).append(row.value - value[row.image_id, control])
        every = [number for own in difference.values() for number in own]
        mean = sum(every) / len(every)
        squares = 0.0
        for left_out in difference:
            rest = [number for name, own in difference.items() if name != left_out for number in own]
            squares += (sum(rest) / len(rest) - mean) ** 2
        count = len(difference)
        error = math.sqrt((count - 1) / count * squares)
        share, share_error = (mean + 1) / 2, error / 2
        half = student.ppf(0.975, count - 1) * share_error / (share * (1 - share))
        low, high = (2 / (1 + math.exp(-(math.log(share / (1 - share)) + side * half))) - 1 for side in (-1, 1))
        assert (part.value, part.low, part.high) == pytest.approx((mean, low, high), abs=1e-9)
        assert part.status == (PASS if low > 0 else FAIL if high <= 0 else UNDECIDED)
        worst = min(worst, low)
    assert gate.status == PASS
    assert by_name[gate.decisive].low == pytest.approx(worst)


def test_a_control_that_cannot_be_exceeded_is_left_out_and_lower_can_be_better() -> None:
    higher, lower = localization_gate(scores()), localization_gate(scores(sign=-1), better="lower")
    assert BEST not in {part.name for part in (*higher.parts, *lower.parts)}
    assert [part.value for part in lower.parts] == pytest.approx([part.value for part in higher.parts])
    assert [part.low for part in lower.parts] == pytest.approx([part.low for part in higher.parts])
    beaten = scores().assign(value=lambda table: table["value"].where(table["method"] != BEST, 0.9))
    assert localization_gate(beaten).decisive == BEST
    assert localization_gate(beaten).status == FAIL


def test_maps_without_a_value_are_counted_and_undefined_scores_are_not() -> None:
    table = scores().assign(arch2="")
    statuses = np.where(table["method"] == "cam", "degenerate", "ok")
    lost = table.assign(status=np.where(table.index < 8, statuses, "ok"))  # 2 of 24 maps
    lost.loc[table.index > 80, "status"] = "undefined"
    lost["value"] = lost["value"].where(lost["status"] == "ok")
    nothing = pd.DataFrame({"arch": [], "metric": [], "class": []})
    contrasts = contrasts_of(scores(), ["centre"], {METRIC: "higher"})
    rules = replace(RULES, untested={gate: "not here" for gate in gates.RELATIONS if gate != "missing_maps"})
    found = gates.run_gates(GateTables(nothing, estimate_scores([lost]), contrasts), "net", "cam", rules)[-1]
    assert (found.name, found.status) == ("missing_maps", FAIL)
    assert found.parts[0].value == pytest.approx(2 / 24)
    assert found.parts[0].n_images == 24


def test_a_class_without_a_number_keeps_consistency_from_passing() -> None:
    chance = {"comparison": "chance", "against": "between-images", "metric": "consist", "arch": "net", "arch2": "",
              "method": "cam", "variant": "pairs"}  # fmt: skip
    contrasts = pd.DataFrame([ROW | chance | {"label": "lesion"}])
    rules = replace(
        RULES, metrics={"consistency": "consist"}, classes=["lesion", "normal"],
        untested={gate: "not here" for gate in gates.RELATIONS if gate != "consistency"},
    )  # fmt: skip
    tables = GateTables(pd.DataFrame({"arch": []}), contrasts.iloc[:0], contrasts)

    def consistency(rules: gates.GateRules) -> Gate:
        return next(gate for gate in gates.run_gates(tables, "net", "cam", rules) if gate.name == "consistency")

    assert consistency(replace(rules, classes=["lesion"])).status == PASS
    found = consistency(rules)
    assert (found.status, found.decisive) == (NOT_TESTABLE, "normal")
    assert found.reason == "no image of class normal has a value of consist for two seeds and for its chance level"
    nothing = GateTables(tables.classification, tables.estimates, contrasts.iloc[:0])
    (empty,) = [gate for gate in gates.run_gates(nothing, "net", "cam", rules) if gate.name == "consistency"]
    assert empty.reason == "no image has a value of consist for two seeds and for its chance level"
