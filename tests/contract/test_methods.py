"""Whatever file lies among the methods or the controls keeps the contract it declares, on every family of networks."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import EVERY, NETWORKS, network
from torch import Generator, Tensor
from typed import typed_methods

from gradfaith import registry
from gradfaith.attribution import bound_method, shared_passes
from gradfaith.attribution.bound_method import BoundMethod
from gradfaith.attribution.contract import MapsWithDiagnostics, Method
from gradfaith.attribution.methods.occlusion import window_corners
from gradfaith.attribution.support.superpixels import cut_superpixels
from gradfaith.attribution.taps import tap_layers
from gradfaith.errors import MethodUndefined
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.device import AdaptiveBatch

ROOT = Path(__file__).parents[2]
FILES = [(room, name) for room in ("methods", "controls") for name in registry.names(room)]
COUNT = 2
# Fewer passes than anybody would ask for, where a method lets one say so.
FEW = {
    "scorecam": {"channels": 6},
    "refine": {"of": "layercam", "combine": "product"},
    "integrated_gradients": {"steps": 4},
    "smoothgrad": {"samples": 3},
    "occlusion": {"window": 0.5, "stride": 0.25},
    "lime": {"segments": 6, "samples": 32},
    "kernel_shap": {"segments": 9, "samples": 60},
    "feature_ablation": {"segments": 6},
    "shapley_sampling": {"segments": 6, "orders": 2},
    "gradient_shap": {"samples": 2},
    "rise": {"masks": 9, "grid": 4},
}
CHAINS = {name for name in registry.names("methods") if "chain" in registry.load("methods", name).METHOD.requires}
every_file = pytest.mark.parametrize(("room", "name"), FILES, ids=[name for _, name in FILES])
every_pair = pytest.mark.parametrize(
    ("room", "name", "where"),
    [
        (room, name, where)
        for room, name in FILES
        for where in (["resnet"] if room == "controls" else EVERY if name in CHAINS else NETWORKS)
    ],
)


def options(room: str, name: str) -> dict[str, Any]:
    defaults = {key: option.default for key, option in registry.entry(room, name).options.items()}
    return defaults | FEW.get(name, {})


def use_of(classifier: Classifier, room: str, name: str, score: str = "logit", **given: Any) -> BoundMethod:
    how = {
        "group": room,
        "use": name,
        "layer": "auto",
        "options": options(room, name) | given,
        "score": score,
        "shuffled": False,
    }
    (use,) = bound_method.bind_methods(classifier, typed_methods({name: how}))
    return use


def pictures(where: str) -> Tensor:
    side = EVERY[where].size
    return torch.rand(COUNT, 1, side, side, generator=Generator().manual_seed(4), dtype=torch.double)


def asked(classifier: Classifier, use: BoundMethod, images: Tensor, rows: list[int]) -> MapsWithDiagnostics:
    """The method's maps for some of the same images, each with its own class and its own stream."""
    chosen = images[rows]
    organ = chosen[:, 0] > 0.5
    with shared_passes.open_shared_passes(
        classifier, chosen, use.layers, chunk=AdaptiveBatch(7, torch.device("cpu")), curved="curvature" in use.needs
    ) as shared:
        inputs = shared.for_target(torch.tensor(rows), torch.arange(len(rows)), use.score)
        streams = [Generator().manual_seed(row) for row in rows]
        answer = use.attribute(bound_method.MethodCall(inputs, streams, (4, 4), organ))
    return answer if isinstance(answer, MapsWithDiagnostics) else MapsWithDiagnostics(answer)


@dataclass
class Counted:
    """Images that went through the network, with and without a graph, and rows through its head alone."""

    plain: int = 0
    deep: int = 0
    heads: int = 0
    hooks: list[Any] = field(default_factory=list)


def state(classifier: Classifier) -> list[Any]:
    """All that a method could leave behind."""
    return [
        (module.training, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks),
         len(module._backward_pre_hooks), sorted(module.__dict__), getattr(module, "fused_attn", None))
        for module in classifier.modules()
    ] + [(parameter.requires_grad, parameter.grad is None, parameter.sum().item()) for parameter in classifier.parameters()]  # fmt: skip


def test_there_are_the_controls_every_study_needs() -> None:
    assert {"random", "random-grid", "centre", "edges", "uniform", "half", "lungs"} <= set(registry.names("controls"))


@every_file
def test_it_declares_itself(room: str, name: str) -> None:
    module = registry.load(room, name)
    assert isinstance(module.METHOD, Method)
    assert (module.__doc__ or "").strip().count("\n") >= 3, "what it computes, the formula, the cost"
    assert (room == "controls") == (module.METHOD.needs == ("nothing",)), "a control knows nothing of the model"
    cite = module.METHOD.cite
    assert cite or room == "controls"
    assert not cite or f"{{{cite}," in (ROOT / "resources/references.bib").read_text()


@every_pair
def test_it_keeps_its_contract(room: str, name: str, where: str) -> None:
    """Defined or refused as declared; shape, sign, finite, the same again, batch = loop, nothing touched or left behind."""
    classifier, declared, images = network(where), registry.load(room, name).METHOD, pictures(where)
    if not set(declared.requires) <= EVERY[where].traits:
        with pytest.raises(MethodUndefined, match=name):
            use_of(classifier, room, name)
        return
    use, before, own = use_of(classifier, room, name), state(classifier), images.clone()
    together = asked(classifier, use, images, [0, 1])
    maps = together.maps
    assert state(classifier) == before
    assert torch.equal(images, own)
    assert maps.shape[0] == COUNT
    assert maps.shape[1:] == images.shape[2:] or declared.grid == "native"
    assert declared.grid == "input" or maps.shape[1] < images.shape[2]
    assert maps.isfinite().all()
    assert not maps.requires_grad
    assert declared.signed or not (maps < 0).any()
    assert (maps.amax(dim=(1, 2)) > maps.amin(dim=(1, 2))).any(), "not all constant"
    assert all(note.shape == (COUNT,) for note in together.diagnostics.values())
    assert torch.equal(asked(classifier, use, images, [0, 1]).maps, maps), "the same again"
    for rows in ([1], [1, 0]):
        few = asked(classifier, use, images, rows)
        assert (few.maps - maps[rows]).abs().max() <= 1e-6 * maps.abs().max(), "whatever the batch and the order"
        for note, values in few.diagnostics.items():
            torch.testing.assert_close(values, together.diagnostics[note][rows], rtol=1e-5, atol=1e-8, equal_nan=True)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_it_explains_a_class_exactly_if_it_says_so(name: str) -> None:
    where = home(name)
    images = pictures(where)
    classifier, use = network(where), use_of(network(where), "methods", name)
    with shared_passes.open_shared_passes(
        classifier, images, use.layers, chunk=AdaptiveBatch(7, torch.device("cpu")), curved="curvature" in use.needs
    ) as shared:
        maps = []
        for target in (0, 1):
            inputs = shared.for_target(torch.full((COUNT,), target), torch.arange(COUNT), use.score)
            streams = [Generator().manual_seed(row) for row in range(COUNT)]
            answer = use.attribute(bound_method.MethodCall(inputs, streams, (4, 4), None))
            maps.append(answer.maps if isinstance(answer, MapsWithDiagnostics) else answer)
    assert torch.equal(*maps) != use.declared.targeted


@every_file
def test_it_draws_random_numbers_exactly_if_it_says_so(room: str, name: str) -> None:
    where = home(name) if room == "methods" else "resnet"
    images = pictures(where)
    classifier, use = network(where), use_of(network(where), room, name)
    streams = [Generator().manual_seed(row) for row in range(COUNT)]
    torch.manual_seed(11)
    before = torch.get_rng_state()
    with shared_passes.open_shared_passes(
        classifier, images, use.layers, chunk=AdaptiveBatch(7, torch.device("cpu")), curved="curvature" in use.needs
    ) as shared:
        inputs = shared.for_target(torch.arange(COUNT), torch.arange(COUNT), use.score)
        use.attribute(bound_method.MethodCall(inputs, streams, (4, 4), images[:, 0] > 0.5))
    untouched = [
        torch.equal(one.get_state(), Generator().manual_seed(row).get_state()) for row, one in enumerate(streams)
    ]
    assert untouched == [not use.declared.seeded] * COUNT, "each image from its own stream"
    assert torch.equal(torch.get_rng_state(), before), "and never from the global one"


@contextmanager
def counting(classifier: Classifier) -> Iterator[Counted]:
    """Whole passes are told from passes of the head by whether the network's first convolution computes."""
    counted = Counted()
    first = next(module for module in classifier.net.modules() if isinstance(module, torch.nn.Conv2d))
    computed = list[int]()

    def through(_module: Any, inputs: tuple[Tensor, ...], _output: Any) -> None:
        rows = len(inputs[0])
        if not computed:
            counted.heads += rows
        elif torch.is_grad_enabled() and inputs[0].requires_grad:
            counted.deep += rows
        else:
            counted.plain += rows
        computed.clear()

    convolve = first._conv_forward
    first._conv_forward = lambda *given: computed.append(1) or convolve(*given)  # type: ignore[func-returns-value, method-assign]
    hook = classifier.net.register_forward_hook(through)
    try:
        yield counted
    finally:
        hook.remove()
        del first._conv_forward


@pytest.mark.parametrize("name", registry.names("methods"))
def test_it_costs_what_it_declares(name: str) -> None:
    where = home(name)
    images = pictures(where)
    classifier, use = network(where), use_of(network(where), "methods", name)
    with counting(classifier) as counted:
        asked(classifier, use, images, [0, 1])
    shared = COUNT if use.layers else 0
    declared, words = use.declared, options("methods", name)
    words |= (
        {"windows": len(window_corners(*images.shape[2:], words["window"], words["stride"]))}
        if name == "occlusion"
        else {}
    )
    if "superpixels" in str(declared.forwards):
        counts = [int(cut_superpixels(image, words["segments"]).max()) + 1 for image in images]
        words["superpixels"] = sum(counts) / COUNT
    if use.layers:
        words["channels"] = words.get("channels") or channels_of(classifier, use.layer)

    def times(said: int | str) -> int:
        """A number, or a sum of words: options, and what is there to be counted."""
        return COUNT * (eval(said, {"__builtins__": {}}, words) if isinstance(said, str) else said)

    assert counted.heads == times(declared.head_passes)
    assert counted.plain + counted.deep == shared + times(declared.forwards)


def channels_of(classifier: Classifier, layer: str) -> int:
    with tap_layers(classifier, layer) as tap:
        tap.forward(torch.zeros(1, 1, classifier.spec.size, classifier.spec.size, dtype=torch.double))
        return tap.single_tap(torch.zeros(1, dtype=torch.long)).activation.shape[1]


def home(name: str) -> str:
    """A network the method is defined on."""
    required = set(registry.load("methods", name).METHOD.requires)
    return next(where for where, known in EVERY.items() if required <= known.traits)


@pytest.mark.slow
def test_two_hundred_calls_keep_memory_and_hooks_flat() -> None:
    """Every method that is defined on it, on one small network."""
    classifier, images = network("resnet"), pictures("resnet")
    those = [
        name
        for name in registry.names("methods")
        if set(registry.load("methods", name).METHOD.requires) <= NETWORKS["resnet"].traits
    ]
    for name in those:
        use = use_of(classifier, "methods", name)

        def tensors() -> int:
            gc.collect()
            return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

        asked(classifier, use, images, [0])
        first = tensors()
        for _ in range(200 // len(those) + 1):
            asked(classifier, use, images, [0])
        assert tensors() <= first, name
