"""Find out for which networks each method is defined, by probing the networks, built untrained.

Each method is probed with its default options, at its own default layer or else the network's: does the
network have what the method requires (attribution/requirements.py), and does the layer give a map at all
(attribution/probe.py)? Cost: passes of twelve images per layer, and of four per method with requirements.
"""

from collections.abc import Sequence
from pathlib import Path

from gradfaith import registry
from gradfaith.attribution import bound_method
from gradfaith.config import locate, options
from gradfaith.config.architecture import Architecture
from gradfaith.config.job_settings import MethodSettings
from gradfaith.config.sections import Image
from gradfaith.dag.plan import Plan
from gradfaith.errors import GradFaithError
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.layers import AUTO
from gradfaith.models.timm_import import timm


def find_support(timm_names: Sequence[str], study: str, root: Path) -> dict[str, dict[str, str]]:
    """Return architecture -> method -> "", or why the method is not defined there.

    The architectures are those of `timm_names`, and those of a study, if `study` is not "" (its name or YAML file).
    """
    support = {name: _support_on(_build_timm_model(name), AUTO) for name in timm_names}
    if study:
        path = locate.study_file(study, root)
        plan = Plan.read(locate.read_document(path), root, str(path))
        support |= {
            arch: _support_on(build_untrained(arch, spec, plan.study.image, len(plan.dataset.classes)), spec.layer)
            for arch, spec in plan.study.architectures.items()
        }
    return support


def _support_on(classifier: Classifier, layer: str) -> dict[str, str]:
    probed = set[str]()
    methods = {name: _why_undefined(classifier, name, layer, probed) for name in registry.names("methods")}
    return methods | dict.fromkeys(registry.names("controls"), "")


def _why_undefined(classifier: Classifier, name: str, layer: str, probed: set[str]) -> str:
    own = registry.entry("methods", name).declared.get("default_layer") or layer
    settings = MethodSettings(
        group="methods",
        use=name,
        options=options.complete("methods", name, {}),
        layer=own,
        score="logit",
        reading="positive",
        shuffled=False,
    )
    try:
        bound_method.probe_methods(classifier, {name: settings}, probed)
    except GradFaithError as error:
        before, _, lack = error.problem.partition('": ')  # of requirements.require_traits only what is lacking
        return (lack or before).removesuffix(".")
    return ""


def _build_timm_model(name: str) -> Classifier:
    """Build a timm network of three classes, at its own image size."""
    known = timm.is_model(name)
    size = timm.get_pretrained_cfg(name).input_size[-1] if known else 224  # build refuses an unknown name in words
    return build_classifier(ClassifierSpec(name, 3, 3, 3, size, 0.5, 0.25)).eval()


def build_untrained(label: str, spec: Architecture, image: Image, classes: int) -> Classifier:
    """Build the network of a study's architecture with random weights."""
    name = "" if spec.module else spec.timm or label
    return build_classifier(
        ClassifierSpec(
            name, classes, image.channels, spec.in_chans, image.size, 0.5, 0.25, spec.options, module=spec.module
        )
    ).eval()


def count_parameters(plan: Plan, arch: str) -> int:
    """Return the number of parameters of an architecture of a study, built without memory for its weights."""
    import torch

    with torch.device("meta"):
        spec, classes = plan.study.architectures[arch], len(plan.dataset.classes)
        return sum(weight.numel() for weight in build_untrained(arch, spec, plan.study.image, classes).parameters())
