"""Give each architecture and method a verdict: all gates, their combination, a scorecard, and two sentences.

    fail         if any gate fails
    incomplete   else, if any gate is not testable
    undecided    else, if any gate is undecided
    pass         else

The scorecard has the order of the framework of FDA scientists [lago2026]: consistency, plausibility, fidelity, usefulness. Where
we differ: their consistency compares explanations of similar inputs, ours the maps of several trainings on the same image. How
much a map helps a reader is not measured here. Two gates are preconditions of all four: the network must classify, and
maps must exist. One sentence says what the verdict means for a reader of the maps, one what must not be concluded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from gradfaith.stats.gates import (
    FAIL,
    PASS,
    Gate,
    GateRules,
    GateStatus,
    GateTables,
    run_gates,
    worst_status,
)
from gradfaith.stats.intervals import OVER_BOTH
from gradfaith.vocabulary import NOT_TESTABLE, UNDECIDED

VerdictName = Literal["fail", "incomplete", "undecided", "pass"]
VERDICT_OF: Mapping[GateStatus, VerdictName] = {
    FAIL: "fail", NOT_TESTABLE: "incomplete", UNDECIDED: "undecided", PASS: "pass",
}  # fmt: skip
TITLES = {
    "balanced_accuracy": "balanced accuracy", "localization": "localization", "faith_gain": "gain in Faith",
    "randomisation": "random weights", "consistency": "agreement between seeds", "shortcut_lift": "known shortcut",
    "missing_maps": "maps without a value",
}  # fmt: skip
CRITERIA: Mapping[str, tuple[str, ...]] = {  # of the scorecard -> its gates
    "precondition": ("balanced_accuracy", "missing_maps"),
    "consistency": ("consistency",),
    "plausibility": ("localization", "shortcut_lift"),
    "fidelity": ("faith_gain", "randomisation"),
    "usefulness": (),
}
NOT_MEASURED: Literal["not measured"] = "not measured"
FAILURES = {  # `part` is the name of the part that decides
    "balanced_accuracy": "the network does not classify well enough",
    "localization": "their localization does not exceed that of the control {part}{beyond}",
    "faith_gain": "their gain in Faith over shuffled maps is not above {margin:g} (imputer {part})",
    "randomisation": "a network with random weights has similar maps",
    "consistency": "the agreement of two trainings does not exceed its chance level{beyond} (class {part})",
    "shortcut_lift": "they mark the known shortcut",
    "missing_maps": "too many images have no usable map",
}


@dataclass(frozen=True)
class Criterion:
    """One line of the scorecard."""

    name: str
    status: GateStatus | Literal["not measured"]
    gates: tuple[str, ...]


@dataclass(frozen=True)
class MethodVerdict:
    """The verdict on the maps of one method on one architecture."""

    arch: str
    method: str
    verdict: VerdictName
    statement: str  # what the verdict means for a reader of the maps
    not_to_conclude: str
    holds_for: str  # what the intervals of its gates cover
    gates: tuple[Gate, ...]
    scorecard: tuple[Criterion, ...]

    def gate(self, name: str) -> Gate:
        """Return a gate by its name."""
        return next(gate for gate in self.gates if gate.name == name)


@dataclass(frozen=True)
class StudyVerdict:
    """The verdicts on all methods of a study."""

    level: float  # of the intervals
    methods: tuple[MethodVerdict, ...]

    @classmethod
    def of_content(cls, content: Mapping[str, Any]) -> "StudyVerdict":
        """Return the verdicts in the content of verdict.json."""
        fields = {name: content[name] for name in ("level", "methods")}
        return TypeAdapter(cls).validate_python(fields)


def judge_study(
    tables: GateTables, methods: Mapping[str, Iterable[str]], rules: GateRules, *, level: float
) -> StudyVerdict:
    """Return the verdict on every method of every architecture; `methods`: architecture -> its methods, without controls."""
    found = [judge_method(tables, arch, method, rules) for arch, names in methods.items() for method in names]
    return StudyVerdict(level, tuple(found))


def judge_method(tables: GateTables, arch: str, method: str, rules: GateRules) -> MethodVerdict:
    """Return the verdict on the maps of one method on one architecture."""
    gates = run_gates(tables, arch, method, rules)
    verdict = VERDICT_OF[worst_status([gate.status for gate in gates])]
    return MethodVerdict(
        arch, method, verdict, _statement(f"the maps of {method} on {arch}", verdict, gates),
        _not_to_conclude(verdict, gates), _holds_for(gates), gates, _scorecard(gates),
    )  # fmt: skip


def _scorecard(gates: Iterable[Gate]) -> tuple[Criterion, ...]:
    status = {gate.name: gate.status for gate in gates}
    return tuple(
        Criterion(name, worst_status([status[gate] for gate in own]) if own else NOT_MEASURED, own)
        for name, own in CRITERIA.items()
    )


def _statement(maps: str, verdict: VerdictName, gates: Iterable[Gate]) -> str:
    """Return what the verdict means for a reader of the maps."""
    by_status = {status: [gate for gate in gates if gate.status == status] for status in VERDICT_OF}
    if verdict == "fail":
        reasons = [_reason_of_failure(gate) for gate in by_status[FAIL]]
        return f"Do not rely on {maps}: {join_words(reasons)}."
    if verdict == "pass":
        return (
            f"{maps[0].upper()}{maps[1:]} mark the evidence better than the controls, the prediction depends more on them than on "
            "shuffled maps, and trainings agree more than by chance: on average they say something about what the network used."
        )
    unknown = [*by_status[NOT_TESTABLE], *by_status[UNDECIDED]]
    why = {
        "incomplete": "this study does not test all gates",
        "undecided": "the intervals of this study do not decide all gates",
    }[verdict]
    titles = join_words([TITLES[gate.name] for gate in unknown])
    return f"Do not rely on {maps} yet: {why} (open: {titles})."


def _reason_of_failure(gate: Gate) -> str:
    beyond = f" by more than {gate.margin:g}" if gate.margin else ""
    return FAILURES[gate.name].format(part=gate.decisive, margin=gate.margin, beyond=beyond)


def _not_to_conclude(verdict: VerdictName, gates: tuple[Gate, ...]) -> str:
    """Return the sentence on what must not be concluded."""
    failed = {gate.name for gate in gates if gate.status == FAIL}
    if "shortcut_lift" in failed:
        return "Do not conclude that what these maps mark is a sign of disease: they mark a known shortcut."
    if failed == {"balanced_accuracy"}:
        return (
            "Do not conclude that the method is wrong: its maps explain a network that does not classify well enough."
        )
    if failed:
        return "Do not conclude from a map that looks plausible that the network used what it marks."
    counts = {status: sum(gate.status == status for gate in gates) for status in (NOT_TESTABLE, UNDECIDED)}
    if verdict == "incomplete":
        open_gates = f", and {counts[UNDECIDED]} are undecided" if counts[UNDECIDED] else ""
        return (
            f"Do not conclude that the maps passed: {counts[NOT_TESTABLE]} of {len(gates)} gates could not be "
            f"tested{open_gates}."
        )
    if verdict == "undecided":
        return f"Do not conclude that there is no difference: {counts[UNDECIDED]} of {len(gates)} gates are undecided, not failed."
    return (
        "Do not conclude that a single map is right, that the maps help a reader, or that the verdict holds for other "
        "populations, scanners or architectures: none of these was measured."
    )


def _holds_for(gates: Iterable[Gate]) -> str:
    """Return what the intervals hold for, by how they were made."""
    own = [gate.parts for gate in gates if gate.name != "missing_maps"]
    parts = [part for gate_parts in own for part in gate_parts if part.low is not None]
    seeds = [part.n_seeds for part in parts]
    if not parts:
        return "No gate has an interval."
    if any(OVER_BOTH in part.interval for part in parts):  # from three seeds, or with pooled seed variance
        return "Intervals hold for new patients (or other groups of images) of this population and new trainings of this recipe."
    models = "this trained model" if max(seeds) == 1 else f"these {max(seeds)} trained models"
    return f"Intervals hold for new patients (or other groups of images) of this population and {models} only."


def join_words(words: list[str]) -> str:
    """Join words with commas, and the last two with "and"."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
