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
from gradfaith.config.class_map import ClassOutputs
from gradfaith.config.job_settings import MethodSettings
from gradfaith.config.sections import Image
from gradfaith.dag.plan import Plan
from gradfaith.errors import GradFaithError
from gradfaith.models.checkpoint import spec_with_head_of_file
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
            arch: _support_on(
                build_untrained(arch, spec, plan.study.image, plan.dataset.classes, plan.class_outputs), spec.layer
            )
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


def build_untrained(
    label: str, given: Architecture, image: Image, classes: Sequence[str], class_outputs: ClassOutputs = ()
) -> Classifier:
    """Build the network of a study's architecture: with random weights, or as its ONNX file has it."""
    name = "" if given.module or given.onnx else given.timm or label
    file = Path(given.onnx) if given.onnx else None
    spec = ClassifierSpec(
        name, len(classes), image.channels, given.in_chans, image.size, 0.5, 0.25, given.options,
        module=given.module, onnx=given.onnx, head=given.head,
    )  # fmt: skip
    if class_outputs and not name:
        spec = spec_with_head_of_file(spec, file, class_outputs, classes)
    return build_classifier(spec, weights=file).eval()


def count_parameters(plan: Plan, arch: str) -> int:
    """Return the number of parameters of an architecture, built without memory for its weights; 0 for an ONNX file."""
    import torch

    spec = plan.study.architectures[arch]
    if spec.onnx:
        return 0
    with torch.device("meta"):
        built = build_untrained(arch, spec, plan.study.image, plan.dataset.classes)
        return sum(weight.numel() for weight in built.parameters())
