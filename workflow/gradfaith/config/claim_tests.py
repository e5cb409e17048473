"""Find which architectures, methods and metrics of a study play the roles in its claims.

A name that nothing has is an error. A claim about what the study lacks is not testable, and the reason names it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from gradfaith import registry
from gradfaith.config.claims import (
    ALL_CONTROLS,
    BASE,
    CHANCE,
    FAMILIES,
    OTHERS,
    OWN_SHUFFLED,
    SPECIAL_OPPONENTS,
    ClaimPart,
    MethodRole,
    timm_modules,
)
from gradfaith.config.derived_metrics import judged_labels
from gradfaith.config.result_settings import ResolvedClaim, TermSettings, TestSettings
from gradfaith.config.study import MethodUse, Study
from gradfaith.registry import did_you_mean
from gradfaith.vocabulary import BETWEEN_IMAGES, SEED_PAIRS, SHUFFLED

RATES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "precision", "f1", "auroc")
METRIC_GROUPS = tuple(name for name, group in registry.PLUGIN_GROUPS.items() if group.declaration == "METRIC")
TWO_STUDIES = "it compares two studies, and one study has one split; docs/claims.md shows how to compare them"


class _NotTestable(Exception):
    """A study lacks what a claim needs; the text says what."""


def claim_problems(study: Study, methods: Sequence[str]) -> list[str]:
    """Return the names in `claims:` and `roles:` that nothing has, each as `key: what`."""
    lines = [
        f"roles.{role}: {name} is not an architecture of the study{did_you_mean(name, study.architectures)}"
        for role, names in study.roles.items()
        for name in names
        if name not in study.architectures
    ]
    lines += [
        f"figures.{label}: it shows results of `claims:`, but the study does not have this key"
        for label, figure in study.figures.items()
        if figure.use == "claims" and not study.claims
    ]
    for name, claim in study.claims.items():
        for part in claim.parts:
            for key, found, known in _names_used(study, part, methods):
                if found not in known:
                    lines.append(f"claims.{name}.{key}: there is no {found}{did_you_mean(found, known)}")
    return list(dict.fromkeys(lines))


def _names_used(study: Study, part: ClaimPart, methods: Sequence[str]) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield key, name and the names that it could be."""
    labels = [*study.localization, *study.composite, *study.agreement, *judged_labels(study)]
    metrics = [*(name for group in METRIC_GROUPS for name in registry.names(group)), *labels]
    rates = [*RATES, *metrics] if part.quantity == "classification" else [*metrics, OTHERS]
    plugins = [*registry.names("methods"), *registry.names("controls"), *methods]
    yield from (("metric", name, rates) for name in part.metric)
    yield from (("method", role.use, plugins) for role in ([part.method] if part.method else []))
    yield from (("against", role.use, [*plugins, *SPECIAL_OPPONENTS]) for role in part.against)
    named = {"truth": part.truth, "against_metric": part.against_metric}
    yield from ((key, name, metrics) for key, name in named.items() if name)
    roles = [*FAMILIES, *study.roles, *study.architectures]
    for key, name in (("architecture", part.architecture), ("against_architecture", part.against_architecture)):
        if name and name not in roles:
            yield key, name, [*roles, OTHERS, *sorted(set(timm_modules().values()))]


def tested_claims(study: Study, controls: Sequence[str]) -> list[ResolvedClaim]:
    """Return every claim with its tests, by the labels of the study; `controls`: those that the study has."""
    return [_tested(study, name, controls) for name in study.claims]


def _tested(study: Study, name: str, controls: Sequence[str]) -> ResolvedClaim:
    claim, tests, missing = study.claims[name], list[TestSettings](), ""
    cases: set[str] | None = None
    try:
        if len(study.seeds) < claim.min_seeds:
            raise _NotTestable(f"it needs {claim.min_seeds} seeds, and the study has {len(study.seeds)}")
        for part in claim.parts:
            own = list(_PartOfStudy(study, part, controls).tests())
            found = {test.case for test in own}
            cases = found if cases is None else cases & found
            tests += own
        tests = [test for test in tests if cases and test.case in cases]
        if not tests:
            raise _NotTestable("no architecture has the methods of all its parts")
    except _NotTestable as reason:
        tests, missing = [], str(reason)
    return ResolvedClaim(name=name, says=claim.says, paper=claim.paper, over=claim.over, tests=tests, missing=missing)


@dataclass(frozen=True)
class _PartOfStudy:
    """One part of a claim, with the study whose names take the place of its roles."""

    study: Study
    part: ClaimPart
    controls: Sequence[str]

    def tests(self) -> Iterator[TestSettings]:
        """Yield the tests of the part; raise _NotTestable if the study lacks something."""
        if self.part.quantity == "studies":
            raise _NotTestable(TWO_STUDIES)
        kinds = {"correlation": self._correlations, "fooled": self._fooled, "error_share": self._errors}
        return kinds.get(self.part.quantity, self._by_architecture)()

    def _test(
        self, case: str, condition: str, metric: str, terms: Sequence[TermSettings] = (), **more: Any
    ) -> TestSettings:
        kept = {"quantity", "variant", "by_class", "images", "margin", "side", "precondition"}
        blank = {"rivals": [], "against_metric": "", "truth": ""}
        same = self.part.model_dump(include=kept)
        return TestSettings(**same | blank | more, case=case, condition=condition, metric=metric, terms=list(terms))

    def _by_architecture(self) -> Iterator[TestSettings]:
        """Yield the tests of every case; a case without the methods is left out if another one has them."""
        found, missing = list[TestSettings](), ""
        for case, weights in self._cases():
            try:
                found += self._of_case(case, weights)
            except _NotTestable as reason:
                missing = str(reason)
        if not found:
            raise _NotTestable(missing)
        yield from found

    def _of_case(self, case: str, weights: Mapping[str, float]) -> Iterator[TestSettings]:
        """Yield a test per metric, method and opponent."""
        part, methods = self.part, self._methods(list(weights))
        for metric, method in product(self._metrics(), methods):
            name = f"{case}, {method}" if len(methods) > 1 else case
            opponents = [label for role in part.against for label in self._opponents(role, method, list(weights))]
            if part.quantity == "win_rate":
                terms = _terms(weights, {method: 1.0})
                yield self._test(name, f"{method} against {', '.join(opponents)}", metric, terms, rivals=opponents)
                continue
            for opponent in opponents or [""]:
                words = f"{method} minus {opponent}" if opponent else method or metric
                yield self._test(name, words, metric, self._difference(weights, method, opponent))

    def _difference(self, weights: Mapping[str, float], method: str, opponent: str) -> list[TermSettings]:
        """Return the means that make a number: the method's, minus the opponent's, of every architecture."""
        if opponent == CHANCE:
            own = _terms(weights, {method: 1.0}, SEED_PAIRS)
            return own + _terms(weights, {method: -1.0}, BETWEEN_IMAGES)
        return _terms(weights, {method: 1.0} | ({opponent: -1.0} if opponent else {}))

    def _correlations(self) -> Iterator[TestSettings]:
        """Yield a test per metric: its correlation with the truth, minus that of `against_metric`."""
        truth = self._label(self.part.truth or (self.study.meta.truth[0] if self.study.meta else "saliency_score"))
        rival = self._label(self.part.against_metric) if self.part.against_metric else ""
        if sum(len(bundle.methods) for bundle in self.study.bundles.values()) < 3:
            raise _NotTestable("a correlation needs three methods")
        for metric in self._metrics():
            if metric not in (truth, rival):
                words = f"correlation of {metric} with {truth}" + (f", minus that of {rival}" if rival else "")
                yield self._test("all architectures", words, metric, against_metric=rival, truth=truth)

    def _fooled(self) -> Iterator[TestSettings]:
        """Yield a test per metric: the control minus the median method."""
        control = self.part.method.use if self.part.method else ""
        if control not in self.controls:
            raise _NotTestable(f"the study has no control {control}")
        for metric in self._metrics():
            yield self._test("all architectures", f"{control} minus the median method", metric, rivals=[control])

    def _errors(self) -> Iterator[TestSettings]:
        """Yield a test per architecture: the share of errors between two classes."""
        for case, weights in self._cases():
            words = f"errors between {' and '.join(self.part.classes)}"
            yield self._test(case, words, "", _terms(weights, {"": 1.0}), rivals=self.part.classes)

    def _cases(self) -> list[tuple[str, dict[str, float]]]:
        """Return the cases in which the part must hold: a name, and architecture -> weight."""
        own = self._architectures(self.part.architecture)
        against = self.part.against_architecture
        if not against:
            return [(arch, {arch: 1.0}) for arch in own]
        others = [arch for arch in (self.study.architectures if against == OTHERS else self._architectures(against))
                  if arch not in own]  # fmt: skip
        if not others:
            raise _NotTestable(f"the study has no architecture of the role {against} to compare with")
        weights = dict.fromkeys(own, 1 / len(own)) | dict.fromkeys(others, -1 / len(others))
        return [(f"{' and '.join(own)} minus {' and '.join(others)}", weights)]

    def _architectures(self, role: str | None) -> list[str]:
        """Return the architectures of a role."""
        archs = list(self.study.architectures)
        if role is None:
            return archs
        found = self.study.roles.get(role) or [arch for arch in archs if role in (arch, *_families(self.study, arch))]
        if not found:
            raise _NotTestable(f"the study has no architecture of the role {role}; `roles` can name one")
        return found

    def _metrics(self) -> list[str]:
        if self.part.quantity == "classification":
            return list(self.part.metric)
        if self.part.metric == [OTHERS]:
            return judged_labels(self.study)
        return [self._label(name) for name in self.part.metric]

    def _label(self, name: str) -> str:
        """Return the label of a metric: the name itself, else the first label of this plug-in."""
        study = self.study
        batteries = {label: use for battery in study.batteries.values() for label, use in battery.metrics.items()}
        uses = {**study.localization, **batteries, **study.composite, **study.agreement}
        found = [label for label, use in uses.items() if name in (label, use.use)]
        if not found:
            raise _NotTestable(
                f"the study has no metric {name}{'; it needs masks' if name in registry.names('localization') else ''}"
            )
        if found[0] in study.agreement and len(study.seeds) < 2:
            raise _NotTestable(f"agreement needs two seeds, and the study has only seed {study.seeds[0]}")
        return name if name in found else found[0]

    def _methods(self, archs: Sequence[str]) -> list[str]:
        """Return the labels that play the method's role on all of some architectures; one "" if there is no method."""
        if self.part.method is None:
            return [""]
        found = _labels(_uses(self.study), self.part.method)
        found = [self.part.method.use] if self.part.method.use in self.controls else self._on(archs, found)
        if not found:
            raise _NotTestable(f"no bundle has the method {_describe(self.part.method)} on {' and '.join(archs)}")
        return found

    def _on(self, archs: Sequence[str], labels: Sequence[str]) -> list[str]:
        """Return the labels that are computed on all of some architectures."""
        uses = _uses(self.study)
        return [label for label in labels if not uses[label].only or set(archs) <= set(uses[label].only)]

    def _opponents(self, role: MethodRole, method: str, archs: Sequence[str]) -> list[str]:
        """Return the labels that play an opponent's role beside a method."""
        if role.use == ALL_CONTROLS:
            return [*self.controls, SHUFFLED + method]
        if role.use in (OWN_SHUFFLED, CHANCE):
            return [SHUFFLED + method if role.use == OWN_SHUFFLED else CHANCE]
        if role.use in self.controls or role.use.startswith(SHUFFLED):
            return [role.use]
        uses = _uses(self.study)
        wanted = MethodRole(use=str(uses[method].options["of"])) if role.use == BASE else role
        found = [label for label in self._on(archs, _labels(uses, wanted)) if label != method]
        if not found:
            raise _NotTestable(f"no bundle has the method {_describe(wanted)} on {' and '.join(archs)}")
        return [max(found, key=lambda label: _equal_options(uses[label], uses[method]))]


def _terms(weights: Mapping[str, float], methods: Mapping[str, float], variant: str = "") -> list[TermSettings]:
    """Return the products of two sets of weights."""
    return [
        TermSettings(weight=weight * sign, arch=arch, method=method, variant=variant)
        for arch, weight in weights.items()
        for method, sign in methods.items()
    ]


def _uses(study: Study) -> dict[str, MethodUse]:
    return {label: use for bundle in study.bundles.values() for label, use in bundle.methods.items()}


def _labels(uses: Mapping[str, MethodUse], role: MethodRole) -> list[str]:
    """Return the labels that play a role: the label of its name, else all labels of the plug-in of its name."""
    early, own = role.layer == "early", {label: use for label, use in uses.items() if use.use == role.use}
    kept = {label: use for label, use in own.items() if early and use.layer == "early"}
    kept = kept or {label: use for label, use in own.items() if bool(use.layer) == early}
    if role.use in uses and not early:
        kept = {role.use: uses[role.use]}
    return [
        label
        for label, use in kept.items()
        if all(use.options.get(key) == value for key, value in role.options.items())
    ]


def _equal_options(one: MethodUse, other: MethodUse) -> int:
    return sum(other.options.get(key) == value for key, value in one.options.items())


def _describe(role: MethodRole) -> str:
    options = ", ".join(f"{key}: {value}" for key, value in role.options.items())
    early = " at a layer of its own" if role.layer == "early" else ""
    return role.use + (f" with {options}" if options else "") + early


def _families(study: Study, arch: str) -> list[str]:
    """Return the roles of an architecture by its module of timm: the module, and its family; none if `roles` has it."""
    spec = study.architectures[arch]
    if spec.module or any(arch in names for names in study.roles.values()):
        return []
    module = timm_modules().get((spec.timm or arch).partition(".")[0], "")
    return [module, *(family for family, modules in FAMILIES.items() if module in modules)]
