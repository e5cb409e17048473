"""Every CAM beside a slow literal twin, at an inner layer of networks that bend smoothly, where no closed form hides a slip.

The twin writes the paper's sums as loops over channels and positions; its gradient is a row of a Jacobian, its curvature a
full Hessian, its ablations and masks one forward each. At a layer that only pooling and one linear layer follow, the closed
forms are tested in `test_cam_closed_forms.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import interpolate
from torch.testing import assert_close
from typed import typed_methods

from gradfaith.attribution import shared_passes
from gradfaith.attribution.bound_method import MethodCall, bind_methods
from gradfaith.attribution.contract import LayerMaps, Tap, target_score
from gradfaith.attribution.methods.eigencam import attribute as eigencam_of
from gradfaith.attribution.methods.refine import attribute as refine
from gradfaith.errors import LayerUnusable, MethodUndefined
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.runtime.device import AdaptiveBatch
from gradfaith.vocabulary import Score

CHANNELS, GRID, CLASSES, IMAGES = 5, 4, 3, 2
BENDS: dict[str, Callable[[], nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU, "tanh": nn.Tanh}


class Small(nn.Module):
    """stem -> layer (tapped) -> a bend, a convolution, a bend, a pooling that is no average, and a linear layer."""

    def __init__(self, bend: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), bend(), nn.Conv2d(4, CHANNELS, 3, 2, 1))
        self.layer = bend()
        self.rest = nn.Sequential(
            nn.Conv2d(CHANNELS, 6, 3, 1, 1),
            bend(),
            nn.Flatten(),
            nn.Linear(6 * GRID**2, 7),
            bend(),
            nn.Linear(7, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.layer(self.stem(x)))


@dataclass
class Case:
    """One network, two images and two classes, and what a person would compute of them by hand."""

    classifier: Classifier
    net: Small
    images: Tensor
    target: Tensor
    kind: Score

    def activation(self, n: int) -> Tensor:  # (c, h, w)
        with torch.no_grad():
            return self.net.layer(self.net.stem(self.images[n : n + 1]))[0]

    def tail(self, n: int) -> Callable[[Tensor], Tensor]:
        """The score as a function of the activation of one image."""
        return lambda a: target_score(self.net.rest(a[None]), self.target[n : n + 1], self.kind)[0]

    def gradient(self, n: int) -> Tensor:  # (c, h, w)
        return jacobian(self.tail(n), self.activation(n))

    def ours(self, name: str, **options: object) -> Tensor:
        how = {
            "group": "methods",
            "use": name,
            "layer": "layer",
            "options": options,
            "score": self.kind,
            "shuffled": False,
        }
        (use,) = bind_methods(self.classifier, typed_methods({name: how}))
        with shared_passes.open_shared_passes(
            self.classifier,
            self.images,
            use.layers,
            chunk=AdaptiveBatch(3, torch.device("cpu")),
            curved="curvature" in use.needs,
        ) as shared:
            inputs = shared.for_target(self.target, torch.arange(IMAGES), use.score)
            found = use.attribute(MethodCall(inputs, [], (GRID, GRID), None))
        assert isinstance(found, Tensor)
        return found


@pytest.fixture(params=[(bend, kind) for bend in BENDS for kind in ("logit", "log_odds", "margin")], ids="-".join)
def case(request: pytest.FixtureRequest) -> Case:
    bend, kind = request.param
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = Small(BENDS[bend]).double()
        for parameter in net.parameters():
            nn.init.normal_(parameter, std=0.5)
        images = torch.rand(IMAGES, 1, 16, 16, dtype=torch.double)
    classifier = Classifier(net, ClassifierSpec("small", CLASSES, 1, 1, 16, 0.0, 1.0))
    return Case(classifier.eval(), net, images, torch.tensor([2, 0]), kind)


def weighted(weights: list[Tensor], activation: Tensor) -> Tensor:
    """relu( sum_k w_k a_k ), position by position."""
    map_ = torch.zeros(GRID, GRID, dtype=torch.double)
    for i, j in product(range(GRID), repeat=2):
        map_[i, j] = max(sum(float(w) * float(a[i, j]) for w, a in zip(weights, activation, strict=True)), 0.0)
    return map_


def gradcam(case: Case, n: int) -> Tensor:
    return weighted([g.sum() / g.numel() for g in case.gradient(n)], case.activation(n))


def gradcam_pp(case: Case, n: int) -> Tensor:
    """As published: g^2 / (2 g^2 + sum(a) g^3), where it is positive."""
    weights = []
    for g, a in zip(case.gradient(n), case.activation(n), strict=True):
        weight = torch.zeros((), dtype=torch.double)
        for i, j in product(range(GRID), repeat=2):
            below = 2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3
            if g[i, j] > 0 and below > 0:
                weight += g[i, j] ** 2 / below * g[i, j]
        weights.append(weight)
    return weighted(weights, case.activation(n))


def layercam(case: Case, n: int) -> Tensor:
    map_ = torch.zeros(GRID, GRID, dtype=torch.double)
    for g, a in zip(case.gradient(n), case.activation(n), strict=True):
        for i, j in product(range(GRID), repeat=2):
            map_[i, j] += max(g[i, j], torch.zeros(())) * a[i, j]
    return map_.relu()


def hirescam(case: Case, n: int) -> Tensor:
    map_ = torch.zeros(GRID, GRID, dtype=torch.double)
    for g, a in zip(case.gradient(n), case.activation(n), strict=True):
        for i, j in product(range(GRID), repeat=2):
            map_[i, j] += g[i, j] * a[i, j]
    return map_.relu()


def xgradcam(case: Case, n: int) -> Tensor:
    weights = []
    for g, a in zip(case.gradient(n), case.activation(n), strict=True):
        parts = [a[i, j] / a.sum() * g[i, j] for i, j in product(range(GRID), repeat=2)] if a.any() else []
        weights.append(sum(parts, torch.zeros((), dtype=torch.double)))
    return weighted(weights, case.activation(n))


def eigencam(case: Case, n: int) -> Tensor:
    """By a full singular value decomposition, turned to a positive sum."""
    rows = case.activation(n).flatten(1).T  # (h w, c)
    _, _, directions = torch.linalg.svd(rows, full_matrices=False)
    map_ = rows @ directions[0]
    return (map_ if map_.sum() >= 0 else -map_).reshape(GRID, GRID)


def shapleycam(case: Case, n: int) -> Tensor:
    activation = case.activation(n)
    size = activation.numel()
    curved = hessian(case.tail(n), activation).reshape(size, size) @ activation.flatten()
    slope = case.gradient(n) - curved.reshape(activation.shape) / 2
    return weighted([one.mean() for one in slope], activation)


def ablationcam(case: Case, n: int) -> Tensor:
    activation, weights = case.activation(n), []
    with torch.no_grad():
        for k in range(CHANNELS):
            without = activation.clone()
            without[k] = 0
            weights.append(case.tail(n)(activation) - case.tail(n)(without))
    return weighted(weights, activation)


def scorecam(case: Case, n: int) -> Tensor:
    scores = []
    with torch.no_grad():
        for channel in case.activation(n):
            mask = interpolate(channel[None, None], (16, 16), mode="bilinear")
            if channel.max() == channel.min():
                scores.append(torch.tensor(-torch.inf, dtype=torch.double))
                continue
            mask = (mask - mask.min()) / (mask.max() - mask.min())
            logits = case.classifier(case.images[n : n + 1] * mask)
            scores.append(target_score(logits, case.target[n : n + 1], case.kind)[0])
    return weighted(list(torch.stack(scores).softmax(dim=0)), case.activation(n))


TWINS = [gradcam, gradcam_pp, layercam, hirescam, xgradcam, eigencam, shapleycam, ablationcam, scorecam]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.__name__)
def test_it_equals_its_literal_twin(case: Case, twin: Callable[[Case, int], Tensor]) -> None:
    expected = torch.stack([twin(case, n) for n in range(IMAGES)])
    assert_close(case.ours(twin.__name__), expected, rtol=1e-9, atol=1e-12)


def test_the_cases_tell_the_methods_apart(case: Case) -> None:
    """At this layer no two methods agree, so no slip of one can pass for another."""
    maps = {twin.__name__: case.ours(twin.__name__) for twin in TWINS}
    piecewise_linear = isinstance(case.net.layer, nn.ReLU) and case.kind != "log_odds"
    for one, other in product(maps, repeat=2):
        if one < other and not (piecewise_linear and {one, other} == {"gradcam", "shapleycam"}):
            largest = max(maps[one].abs().max(), maps[other].abs().max())
            assert (maps[one] - maps[other]).abs().max() > 1e-5 * largest, (one, other)


def test_score_cam_with_fewer_channels_asks_those_that_vary_most(case: Case) -> None:
    whole = case.ours("scorecam")
    assert_close(case.ours("scorecam", channels=CHANNELS), whole)
    single = case.ours("scorecam", channels=1)
    for n in range(IMAGES):
        activation = case.activation(n)
        assert_close(single[n], activation[activation.std(dim=(1, 2)).argmax()].relu())


@pytest.mark.parametrize("combine", ["product", "geometric", "inverse_exp"])
def test_refined_maps_by_hand(combine: str) -> None:
    """Two layers whose maps are already at the image's size and on [0, 1]."""
    fine, deep = torch.tensor([[[0.0, 1.0], [0.5, 0.25]]]), torch.tensor([[[1.0, 0.5], [0.5, 0.0]]])
    found = refine(LayerMaps([fine, deep], (2, 2)), combine=combine)  # type: ignore[arg-type]
    by_hand = {
        "product": [[0.0, 0.5], [0.25, 0.0]],
        "geometric": [[0.0, 0.5**0.5], [0.5, 0.0]],
        "inverse_exp": [[0.0, 1 / torch.log((torch.tensor(1.0).exp() + torch.tensor(2.0).exp()) / 2)], [0.5, 0.0]],
    }[combine]
    assert_close(found, torch.tensor([by_hand]))


def test_the_inverse_exponential_mean_does_not_overflow() -> None:
    """Written out in single precision, exp(1 / u) is infinite below u = 0.0113; the mean of two equal maps is the map."""
    small = torch.tensor([[[0.0, 1.0], [0.001, 1e-30]]])
    assert_close(refine(LayerMaps([small, small], (2, 2)), combine="inverse_exp"), small, rtol=1e-6, atol=0)


def test_refined_maps_of_one_layer_are_that_layer_s_map_scaled(case: Case) -> None:
    own = case.ours("layercam")
    scaled = refine(LayerMaps([own], (GRID, GRID)))
    low, high = own.amin(dim=(1, 2), keepdim=True), own.amax(dim=(1, 2), keepdim=True)
    assert_close(scaled, (own - low) / (high - low))


def test_a_map_that_is_not_finite_refines_to_none() -> None:
    """Not to a constant one: the image failed, it is not one that nothing can be said of."""
    fine = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    broken = fine.clone()
    broken[1, 0, 0] = torch.nan
    found = refine(LayerMaps([fine, broken], (8, 8)))
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


def test_refining_a_method_is_refused_at_any_layer_it_is_not_defined_at() -> None:
    classifier = build_classifier(ClassifierSpec("resnet10t", 3, 1, 3, 64, 0.5, 0.25), seed=3).eval()
    how = {
        "group": "methods",
        "use": "refine",
        "layer": "auto",
        "options": {"of": "cam"},
        "score": "logit",
        "shuffled": False,
    }
    with pytest.raises(MethodUndefined, match='at layer "layer1"'):
        bind_methods(classifier, typed_methods({"fine": how}))
    with pytest.raises(LayerUnusable, match='no stage after layer "layer4"'):
        bind_methods(classifier, typed_methods({"fine": how | {"layer": "layer4"}}))
    (use,) = bind_methods(classifier, typed_methods({"fine": how | {"layer": "layer3", "options": {"of": "hirescam"}}}))
    assert use.layers == ("layer3", "layer4")


def test_refined_maps_pass_options_to_the_method_they_combine() -> None:
    """Score-CAM by its two most varied channels, at both stages: the product of the maps that it gives alone."""
    classifier = build_classifier(ClassifierSpec("resnet10t", 3, 1, 3, 64, 0.5, 0.25), seed=3).eval()
    plain = {"group": "methods", "use": "scorecam", "score": "logit", "shuffled": False}
    fine = plain | {"use": "refine", "layer": "layer3"}
    few = {"channels": 2}
    uses = bind_methods(
        classifier,
        typed_methods(
            {layer: plain | {"layer": layer, "options": few} for layer in ("layer3", "layer4")}
            | {
                "few": fine | {"options": {"of": "scorecam", "of_options": few}},
                "all": fine | {"options": {"of": "scorecam", "of_options": {"channels": 0}}},
            }
        ),
    )
    images, rows = torch.rand(IMAGES, 1, 64, 64, generator=torch.Generator().manual_seed(0)), torch.arange(IMAGES)
    chunk = AdaptiveBatch(64, torch.device("cpu"))
    with shared_passes.open_shared_passes(classifier, images, ["layer3", "layer4"], chunk=chunk) as shared:
        inputs = shared.for_target(torch.tensor([2, 0]), rows, "logit")
        streams = [torch.Generator() for _ in range(IMAGES)]
        maps = {use.label: use.attribute(MethodCall(inputs, streams, (4, 4), None)) for use in uses}
    assert_close(maps["few"], refine(LayerMaps([maps["layer3"], maps["layer4"]], (64, 64))))
    assert not torch.equal(maps["few"], maps["all"])


@pytest.mark.parametrize("shape", [(3, 6, 4, 4), (3, 5, 7, 7)])
def test_eigen_cam_is_the_same_from_either_gram_matrix(shape: tuple[int, ...]) -> None:
    """More channels than places, and more places than channels: both equal the singular value decomposition."""
    activation = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)
    found = eigencam_of(Tap(activation, activation, torch.zeros(3)))
    for own, map_ in zip(activation, found, strict=True):
        rows = own.flatten(1).T
        expected = rows @ torch.linalg.svd(rows, full_matrices=False).Vh[0]
        assert_close(map_.flatten(), expected if expected.sum() > 0 else -expected)
