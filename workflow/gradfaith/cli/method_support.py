"""For which networks every method is defined: asked of the networks themselves, built untrained.

Each method is asked with its defaults, at the layer it has of its own or else the network's: whether the network is what
the method requires (attribution/requirements.py), and whether the layer gives a map at all (attribution/probe.py). Cost: a few forwards
of four images per method and network.
"""

from collections.abc import Sequence
from pathlib import Path

from gradfaith import registry
from gradfaith.attribution import bound_method
from gradfaith.config import locate, options
from gradfaith.dag.plan import Plan
from gradfaith.errors import Refusal
from gradfaith.models.classifier import Classifier, Spec, build
from gradfaith.models.layers import AUTO
from gradfaith.models.timm_import import timm


def defined(names: Sequence[str], study: str, root: Path) -> dict[str, dict[str, str]]:
    """architecture -> method -> "", or why it is not defined there; timm names, and a study's architectures."""
    found = {name: _support(_named(name), AUTO) for name in names}
    if study:
        path = locate.asked(study, root)
        plan = Plan.read(locate.read(path), root, str(path))
        found |= {
            arch: _support(_of_study(plan, arch), plan.study.architectures[arch].layer) for arch in plan.architectures
        }
    return found


def _support(classifier: Classifier, layer: str) -> dict[str, str]:
    methods = {name: _why_not(classifier, name, layer) for name in registry.names("methods")}
    return methods | dict.fromkeys(registry.names("controls"), "")


def _why_not(classifier: Classifier, name: str, layer: str) -> str:
    own = registry.entry("methods", name).declared.get("at") or layer
    of = options.complete("methods", name, {}).get("of", "")
    try:
        bound_method.probed(classifier, f"{name}:methods:{name}:{own}:{of}")
    except Refusal as refusal:
        before, _, lack = refusal.found.partition('": ')  # of traits.check only what is lacking
        return (lack or before).removesuffix(".")
    return ""


def _named(name: str) -> Classifier:
    """A timm network of three classes, at its own size."""
    known = timm.is_model(name)
    size = timm.get_pretrained_cfg(name).input_size[-1] if known else 224  # build refuses an unknown name in words
    return build(Spec(name, 3, 3, 3, size, 0.5, 0.25)).eval()


def _of_study(plan: Plan, arch: str) -> Classifier:
    spec, image = plan.study.architectures[arch], plan.study.image
    classes = len(plan.dataset.classes)
    return build(
        Spec(spec.timm or arch, classes, image.channels, spec.in_chans, image.size, 0.5, 0.25, spec.options)
    ).eval()
