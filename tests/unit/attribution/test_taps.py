"""A tap gives the right numbers in the right places, for any family, and leaves nothing behind."""

import gc
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from small_networks import make, noise, slow_route, state
from torch import Tensor, nn
from torch.testing import assert_close

from gradfaith.attribution.taps import layer_grid, tap_layers
from gradfaith.errors import LayerUnusable
from gradfaith.models import layers
from gradfaith.models.classifier import Classifier, ClassifierSpec


@dataclass(frozen=True)
class Family:
    """What a person would have to write by hand: the kind of the raw output, its grid, the tokens before it."""

    timm: str
    kind: str
    grid: int
    prefix: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    size: int = 96
    local: str = ""  # an earlier layer, where the default one comes after a step that mixes all places


SHALLOW = {"depth": 3}
NARROW = {"depth": 3, "embed_dim": 64, "num_heads": 2}
FAMILIES = [
    Family("resnet10t", "nchw", 3),
    Family("resnetv2_18", "nchw", 3),
    Family("densenet121", "nchw", 3),
    Family("efficientnet_b0", "nchw", 3),
    Family("mobilenetv3_small_050", "nchw", 3),
    Family("regnetx_002", "nchw", 3),
    Family("vgg11", "nchw", 3, options={"mlp_ratio": 0.01}),
    Family("convnext_atto", "nchw", 3),
    Family("inception_next_atto", "nchw", 3),
    Family("poolformer_s12", "nchw", 3),
    Family("pvt_v2_b0", "nchw", 3),
    Family("edgenext_xx_small", "nchw", 3),
    Family("mobilevit_xxs", "nchw", 3),
    Family("maxvit_pico_rw_256", "nchw", 3),
    Family("coatnet_pico_rw_224", "nchw", 3),
    Family("swin_tiny_patch4_window7_224", "nhwc", 3, options={"embed_dim": 24, "depths": (1, 1, 2, 2)}),
    Family("swinv2_tiny_window8_256", "nhwc", 3, options={"embed_dim": 24, "depths": (1, 1, 2, 2)}),
    Family("mambaout_femto", "nhwc", 3),
    Family("volo_d1_224", "nhwc", 6),
    Family("vit_tiny_patch16_224", "tokens", 6, 1, SHALLOW),
    Family("vit_base_patch16_gap_224", "tokens", 6, 0, NARROW),
    Family("deit_tiny_distilled_patch16_224", "tokens", 6, 2, SHALLOW),
    Family("beit_base_patch16_224", "tokens", 6, 1, NARROW),
    Family("cait_xxs24_224", "tokens", 6, 0, SHALLOW),
    Family("vit_small_patch16_dinov3", "tokens", 6, 5, NARROW),
    Family("xcit_nano_12_p16_224", "tokens", 6, 0, SHALLOW),
    Family("levit_128s", "tokens", 2, 0, local="stages.0"),
    Family("hiera_tiny_224", "tokens", 3, 0),
]
every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.timm)


def by_hand(raw: Tensor, family: Family) -> Tensor:  # (n, c, h, w), one cell after the other
    cells = [(row, column) for row in range(family.grid) for column in range(family.grid)]
    found = raw.new_zeros(len(raw), raw.shape[1 if family.kind == "nchw" else -1], family.grid, family.grid)
    for number, (row, column) in enumerate(cells):
        if family.kind == "nchw":
            found[:, :, row, column] = raw[:, :, row, column]
        elif family.kind == "nhwc":
            found[:, :, row, column] = raw[:, row, column]
        else:
            found[:, :, row, column] = raw[:, family.prefix + number]
    return found


@every_family
def test_activation_and_gradient_are_those_of_the_slow_route(family: Family) -> None:
    """In double precision, where two routes differ by rounding only if they are the same."""
    classifier = make(family.timm, family.size, **family.options).double()
    images, classes = noise(2, family.size).double(), torch.tensor([2, 0])
    layer, untouched = layers.default_layer(classifier.net), images.clone()
    logits, raw, gradient = slow_route(classifier, layer, images, classes)
    with tap_layers(classifier, layer) as tap:
        assert_close(tap.forward(images), logits)
        found = tap.single_tap(classes)
    assert found.activation.shape[2:] == (family.grid, family.grid)
    assert_close(found.activation, by_hand(raw, family))
    assert_close(found.gradient, by_hand(gradient, family), rtol=1e-6, atol=1e-12)
    assert_close(found.score, logits[torch.arange(2), classes])
    assert found.activation.isfinite().all()
    assert found.gradient.isfinite().all()
    assert (found.gradient.abs().amax(dim=(0, 1)) > 0).all(), "the gradient reaches every cell"
    assert torch.equal(images, untouched)


@every_family
def test_a_change_in_a_corner_shows_in_that_corner(family: Family) -> None:
    """Neither flipped nor transposed nor scrambled: the layout means places, whatever else fits the shape."""
    classifier = make(family.timm, family.size, **family.options).double()
    images, layer = noise(1, family.size).double(), family.local or layers.default_layer(classifier.net)
    corners = [(0, 0), (0, -1), (-1, 0), (-1, -1)]
    changed = images.repeat(4, 1, 1, 1)
    for number, corner in enumerate(corners):
        quarter(changed[number], corner, family.size // 4).mul_(0.2)
    with tap_layers(classifier, layer) as tap:
        tap.forward(torch.cat([images, changed]))
        activation = tap.single_tap(torch.zeros(5, dtype=torch.long)).activation
    moved = (activation[1:] - activation[0]).norm(dim=1)  # (4, h, w)
    moved /= moved.sum(dim=(1, 2), keepdim=True)
    moved -= moved.mean(dim=0)  # what every change moves, wherever it is
    side = moved.shape[-1] // 2
    for number, corner in enumerate(corners):
        strength = [float(quarter(moved[number], other, side).mean()) for other in corners]
        assert strength.index(max(strength)) == number, f"the change at {corner} shows elsewhere: {strength}"
    assert layer_grid(classifier, layers.default_layer(classifier.net)) == (family.grid, family.grid)


def quarter(maps: Tensor, corner: tuple[int, int], side: int) -> Tensor:  # (..., h, w) -> (..., side, side), a view
    rows, columns = (slice(None, side) if end == 0 else slice(-side, None) for end in corner)
    return maps[..., rows, columns]


@pytest.fixture(scope="module")
def small() -> Classifier:
    return make("resnet10t", 64)


def test_two_targets_of_one_forward_equal_two_forwards(small: Classifier) -> None:
    images, calls = noise(3, 64), list[int]()
    handle = small.net.register_forward_hook(lambda *_: calls.append(1))
    with tap_layers(small, "layer3") as tap:
        tap.forward(images)
        both = [tap.single_tap(torch.full((3,), number)) for number in (0, 1)]
    handle.remove()
    assert len(calls) == 1
    for number, found in enumerate(both):
        _, _, gradient = slow_route(small, "layer3", images, torch.full((3,), number))
        assert_close(found.gradient, gradient, rtol=1e-4, atol=1e-7)


def test_a_batch_equals_its_images_one_by_one(small: Classifier) -> None:
    images, classes = noise(5, 64), torch.tensor([0, 1, 2, 1, 0])
    with tap_layers(small, "layer4") as tap:
        tap.forward(images)
        together = tap.single_tap(classes)
        for number in range(5):
            tap.forward(images[number : number + 1])
            alone = tap.single_tap(classes[number : number + 1])
            for one, many in ((alone.activation, together.activation), (alone.gradient, together.gradient)):
                assert (one[0] - many[number]).abs().max() <= 1e-6 * many[number].abs().max()


@pytest.mark.parametrize("layer", ["layer1.0.bn1", "layer1.0.bn2", "bn1"])
def test_in_place_activations_after_the_layer_change_nothing_stored(small: Classifier, layer: str) -> None:
    images, naive, truth = noise(2, 64), list[Tensor](), list[Tensor]()
    module = small.net.get_submodule(layer)
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output: naive.append(output.detach())),
        module.register_forward_hook(lambda _module, _inputs, output: truth.append(output.detach().clone())),
    ]
    with torch.no_grad():
        plain = small.eval()(images)
    for handle in handles:
        handle.remove()
    assert not torch.equal(naive[0], truth[0]), "the case bites: a hook that only detaches is corrupted"
    with tap_layers(small, layer) as tap:
        assert_close(tap.forward(images), plain, rtol=1e-5, atol=1e-6)
        assert_close(tap.single_tap(torch.tensor([0, 1])).activation, truth[0], rtol=1e-5, atol=1e-6)


def test_nothing_is_left_behind(small: Classifier) -> None:
    small.train()
    small.net.layer2.eval()  # type: ignore[union-attr, operator] - modes are restored module by module
    small.net.conv1.requires_grad_(False)  # type: ignore[union-attr]
    before = state(small)
    with tap_layers(small, "layer4") as tap:
        tap.forward(noise(1, 64))
        tap.single_tap(torch.tensor([0]))
    assert state(small) == before
    with pytest.raises(RuntimeError), tap_layers(small, "layer4") as tap:
        tap.forward(torch.rand(1, 5, 64, 64))
    assert state(small) == before
    with pytest.raises(RuntimeError, match="out of bounds"), tap_layers(small, "layer4") as tap:
        tap.single_tap(tap.forward(noise(1, 64)).argmax(1) + 3)
    assert state(small) == before
    small.eval().requires_grad_(True)


def test_a_tap_is_of_no_use_before_its_forward_or_after_its_with(small: Classifier) -> None:
    with tap_layers(small, "layer4") as tap:
        with pytest.raises(AssertionError):
            tap.single_tap(torch.tensor([0]))
        tap.forward(noise(1, 64))
    with pytest.raises(AssertionError):
        tap.single_tap(torch.tensor([0]))


def test_many_calls_keep_memory_and_hooks_flat(small: Classifier) -> None:
    def once() -> int:
        with tap_layers(small, "layer4") as tap:
            tap.forward(noise(1, 64))
            tap.single_tap(torch.tensor([0]))
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    first = once()
    assert [once() for _ in range(4)] == [first] * 4
    assert not any(module._forward_hooks for module in small.modules())


class Planted(nn.Module):
    """A network whose tapped layer has as many channels as its grid has rows, in either layout."""

    def __init__(self, last: bool) -> None:
        super().__init__()
        self.last = last
        self.stem = nn.Conv2d(1, 7, 2, 2)
        self.tap = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.tap(x.permute(0, 2, 3, 1) if self.last else x)
        return x.mean(dim=(1, 2) if self.last else (2, 3))


@pytest.mark.parametrize("last", [False, True])
def test_seven_channels_on_seven_by_seven_are_told_apart_by_a_wider_image(last: bool) -> None:
    classifier = Classifier(Planted(last), ClassifierSpec("planted", 7, 1, 1, 14, 0.0, 1.0))
    images = noise(2, 14)
    with tap_layers(classifier, "tap") as tap:
        tap.forward(images)
        found = tap.single_tap(torch.tensor([2, 5]))
    with torch.no_grad():
        assert_close(found.activation, classifier.net.stem(images))  # type: ignore[operator]
    expected = torch.zeros(2, 7, 7, 7)
    expected[0, 2] = expected[1, 5] = 1 / 49
    assert_close(found.gradient, expected)


@pytest.fixture(scope="module")
def tokens() -> Classifier:
    return make("vit_tiny_patch16_224", 96, depth=2)


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        ("head", "no grid"),
        ("blocks.-3", "has no layer"),  # of two
        ("blocks.0.attn.attn_drop", "does not run"),
    ],
)
def test_a_layer_without_a_map_is_refused(tokens: Classifier, layer: str, what: str) -> None:
    with pytest.raises(LayerUnusable, match=what), tap_layers(tokens, layer) as tap:
        tap.single_tap(tap.forward(noise(1, 96)).argmax(1))


def test_windows_are_no_images() -> None:
    """Attention inside windows returns several rows per image; no layout makes a map of them."""
    classifier = make("swin_tiny_patch4_window7_224", 112, embed_dim=24, depths=(1, 1, 1, 1))
    with pytest.raises(LayerUnusable, match="windows"):
        layer_grid(classifier, "layers.0.blocks.0.attn")


@pytest.mark.parametrize(
    ("pool", "layer", "tokens"), [("token", "auto", 1), ("token", "blocks.-1", 37), ("avg", "auto", 37)]
)
def test_the_last_mlp_runs_for_the_tokens_that_are_read(pool: str, layer: str, tokens: int) -> None:
    """Only the class token reaches the logits; its MLP gives the same activation, gradient and score alone."""
    options = {"depth": 3, "embed_dim": 64, "num_heads": 2, "global_pool": pool}
    classifier = make("vit_tiny_patch16_224", 96, **options)
    seen: list[int] = []
    mlp = classifier.net.get_submodule("blocks.2.mlp")
    hook = mlp.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    images, classes = noise(2, 96), torch.tensor([0, 1])
    module = layers.default_layer(classifier.net) if layer == "auto" else layer
    with tap_layers(classifier, module) as tap:
        logits = tap.forward(images)
        found = tap.backward(classes).tap(tap.layers[0])
    assert seen == [tokens]
    with torch.no_grad():
        assert_close(logits, classifier(images), rtol=1e-5, atol=1e-6)
    kept: list[Tensor] = []
    keep = classifier.net.get_submodule(tap.layers[0]).register_forward_hook(lambda _, __, out: kept.append(out))
    scores = classifier(images).gather(1, classes[:, None]).sum()
    (gradient,) = torch.autograd.grad(scores, kept[0])
    hook.remove()
    keep.remove()
    grid = gradient[:, 1:].reshape(2, 6, 6, -1).permute(0, 3, 1, 2)
    assert_close(found.gradient, grid, rtol=1e-5, atol=1e-6)
