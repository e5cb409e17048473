"""Find settings of plug-ins that cannot work: options beyond their limits, and for methods, layers, architectures, scores,
readings and combinations that do not exist; and for a black box, whatever needs more than a network's answers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from gradfaith.config import options
from gradfaith.config.result_settings import Refinement
from gradfaith.config.study import MethodUse, PluginUse, Study
from gradfaith.registry import did_you_mean, entry, names
from gradfaith.vocabulary import SHUFFLED


def limit_problems(study: Study) -> list[str]:
    """Return the options that break a limit which their plug-in declares."""
    return [
        f"{path}.{label}.options.{line}"
        for path, group, uses in _plugins_used(study)
        for label, use in uses.items()
        for line in options.broken_limits(group, use.use, use.options, _limit_words(study))
    ]


def _limit_words(study: Study) -> dict[str, int]:
    """Return the words of limits that mean numbers of the study."""
    return {"size": study.image.size, "seeds": len(study.seeds)}


def _plugins_used(study: Study) -> Iterator[tuple[str, str, Mapping[str, PluginUse]]]:
    """Yield every use of plug-ins in a study: the key, the group, and the uses."""
    yield "localization", "localization", study.localization
    yield "agreement", "agreement", study.agreement
    yield "composite", "composite", study.composite
    yield "figures", "figures", study.figures
    for name, bundle in study.bundles.items():
        yield f"bundles.{name}.methods", "methods", bundle.methods
    for name, battery in study.batteries.items():
        yield f"batteries.{name}.metrics", "faithfulness", battery.metrics
        yield f"batteries.{name}.imputers", "imputers", battery.imputers


def method_problems(study: Study) -> list[str]:
    """Return the problems of methods: layers, architectures or combinations that do not exist."""
    own = [label for bundle in study.bundles.values() for label in bundle.methods]
    lines = _black_box_problems(study) + [
        f"controls.shuffled: {label} is not a method of the study{did_you_mean(label, own)}"
        for label in ([] if study.controls.shuffled == "all" else study.controls.shuffled)
        if label not in own
    ]
    for bundle, uses in study.bundles.items():
        for label, use in uses.methods.items():
            if label.startswith(SHUFFLED):
                lines.append(
                    f"bundles.{bundle}.methods.{label}: names that begin with {SHUFFLED} are reserved for shuffled copies"
                )
            unknown = sorted(set(use.layer) - set(study.architectures)) if isinstance(use.layer, Mapping) else []
            lines += [
                f"bundles.{bundle}.methods.{label}.layer: {arch} is not an architecture of the study"
                for arch in unknown
            ]
            lines += [
                f"bundles.{bundle}.methods.{label}.only: {arch} is not an architecture of the study"
                for arch in sorted(set(use.only) - set(study.architectures))
            ]
            path = f"bundles.{bundle}.methods.{label}"
            lines += [*_combined(path, use.options, study), *_scored(path, use.use, use.score), *_read(path, use)]
    return lines


def _black_box_problems(study: Study) -> list[str]:
    """Return what an ONNX file cannot do: train, be randomised, and be explained by methods that need gradients or layers."""
    files = {arch: spec.onnx for arch, spec in study.architectures.items() if spec.onnx}
    if not files:
        return []
    boxes, working = ", ".join(files), methods_of_answers()
    lines = [] if study.training == "none" else [f"training: {boxes} is an ONNX file and cannot be trained; use `none`"]
    if study.randomisation is not None:
        lines.append(f"randomisation: {boxes} is an ONNX file, whose weights cannot be changed; remove the key")
    if study.map_passes.precision != "float32":
        lines.append(f"explain.precision: {boxes} is an ONNX file, whose precision is its own; use float32")
    return lines + [
        f"bundles.{bundle}.methods.{label}: {use.use} needs gradients or layers, but {boxes} is an ONNX file, which gives "
        f"answers only; use one of {', '.join(working)}, or list other architectures under `only:`"
        for bundle, uses in study.bundles.items()
        for label, use in uses.methods.items()
        if use.use not in working and (not use.only or set(use.only) & set(files))
    ]


def methods_of_answers() -> tuple[str, ...]:
    """Return the methods that need only the scores of images, as their declarations state."""
    declared = {name: entry("methods", name).declared for name in names("methods")}
    return tuple(
        name
        for name, how in declared.items()
        if how["needs"] == ("image",) and not how.get("backwards", 0) and not how.get("requires", ())
    )


def refined_methods(study: Study) -> dict[str, str]:
    """Return each method that combines another one's maps, with the study's label of that other one, if it has one."""
    uses = {label: use for bundle in study.bundles.values() for label, use in bundle.methods.items()}
    return {
        label: base
        for label, use in uses.items()
        for base, other in uses.items()
        if other.use == use.options.get("of") and not other.layer
        and other.options == options.complete("methods", other.use, use.options.get("of_options", {}))
    }  # fmt: skip


def refinements(study: Study) -> dict[str, Refinement]:
    """Return every method that combines another one's maps of several layers, by its label."""
    uses = {label: use for bundle in study.bundles.values() for label, use in bundle.methods.items()}
    found = {}
    for label, use in uses.items():
        if "of" not in use.options:
            continue
        wanted = options.complete("methods", use.options["of"], use.options.get("of_options", {}))
        own = [name for name, one in uses.items() if one.use == use.options["of"] and one.options == wanted]
        at_layer, at_default = ([name for name in own if bool(uses[name].layer) == early] for early in (True, False))
        found[label] = Refinement(
            of=use.options["of"], combine=use.options["combine"], same_layer=(at_layer or [""])[0], last_layer=(at_default or [""])[0]
        )  # fmt: skip
    return found


def _combined(path: str, given: Mapping[str, Any], study: Study) -> list[str]:
    """Return problems of a method that combines maps: it must name a method that reads a layer, with valid options."""
    if "of" not in given:
        return []
    known = [name for name in names("methods") if "layer" in entry("methods", name).declared["needs"]]
    if given["of"] not in known:
        return [f"{path}.options.of: {given['of']} is none of {', '.join(known)}"]
    broken = options.broken_limits("methods", given["of"], given["of_options"], _limit_words(study))
    return [f"{path}.options.of_options.{line}" for line in broken]


def _scored(path: str, name: str, score: str) -> list[str]:
    """Return a problem if the method cannot explain this kind of score."""
    known = entry("methods", name).declared.get("scores", (score,))
    return [] if score in known else [f"{path}.score: {name} explains {' or '.join(known)}, not {score}"]


def _read(path: str, use: MethodUse) -> list[str]:
    """Return a problem if absolute values are read from maps without negative values."""
    if use.reading == "positive" or entry("methods", use.use).declared["signed"]:
        return []
    return [f"{path}.reading: {use.reading} has no effect on {use.use}, whose maps have no negative values"]
