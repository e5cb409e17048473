"""The probe refuses a layer that gives no map or a scrambled one, names one that works, and leaves the network as it was."""

from typing import Any

import pytest
import torch
from torch import nn
from typed import typed_methods

from gradfaith.attribution import bound_method, taps
from gradfaith.attribution.probe import probe
from gradfaith.errors import LayerUnusable, ModelUnusable
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.layers import default_layer


def make(name: str, size: int = 96, **options: Any) -> Classifier:
    return build_classifier(ClassifierSpec(name, 3, 1, 3, size, 0.5, 0.25, options), seed=1)


@pytest.fixture(scope="module")
def vit() -> Classifier:
    return make("vit_tiny_patch16_224", depth=3)


@pytest.fixture(scope="module")
def hiera() -> Classifier:
    return make("hiera_tiny_224")


def test_the_last_block_of_a_class_token_network_has_no_gradient_and_its_norm_is_named(vit: Classifier) -> None:
    with pytest.raises(LayerUnusable, match="exactly zero at 36 of its 36 positions") as refusal:
        probe(vit, "blocks.-1")
    assert refusal.value.fix == "Set `layer: blocks.2.norm1`, which works."
    assert probe(vit, "blocks.2.norm1") == (6, 6)
    assert probe(vit, "blocks.1") == (6, 6)


@pytest.mark.parametrize("layer", ["blocks.2.mlp.fc2", "blocks.2.ls1", "norm", "head"])
def test_any_other_dead_end_of_it_names_the_same_layer(vit: Classifier, layer: str) -> None:
    with pytest.raises(LayerUnusable) as refusal:
        probe(vit, layer)
    assert "blocks.2.norm1" in refusal.value.fix


def test_where_all_tokens_are_averaged_the_last_block_is_fine() -> None:
    classifier = make("beit_base_patch16_224", depth=2, embed_dim=64, num_heads=2)
    assert probe(classifier, "blocks.-1") == (6, 6)


def test_a_layer_without_a_grid_names_the_nearest_with_one() -> None:
    with pytest.raises(LayerUnusable, match="no grid") as refusal:
        probe(make("resnet10t"), "fc")
    assert "`layer: layer4`, which works" in refusal.value.fix


def test_a_grid_coarser_than_asked_for_names_a_finer_layer() -> None:
    classifier = make("resnet10t")
    assert probe(classifier, "layer4", minimum_grid=3) == (3, 3)
    with pytest.raises(LayerUnusable, match="3 x 3, coarser than 6 x 6") as refusal:
        probe(classifier, "layer4", minimum_grid=6)
    assert "`layer: layer3`, which works" in refusal.value.fix


def test_a_head_that_starts_at_zero_is_not_blamed_on_the_layer_and_stays_zero() -> None:
    classifier = make("mixer_s16_224")
    head = classifier.net.head.weight  # type: ignore[union-attr]
    assert not head.any(), "the case bites: with this head every gradient is zero"  # type: ignore[operator]
    before = [value.clone() for value in classifier.state_dict().values()]
    assert probe(classifier, default_layer(classifier.net)) == (6, 6)
    assert all(torch.equal(one, two) for one, two in zip(before, classifier.state_dict().values(), strict=True))


def test_modes_and_random_state_survive() -> None:
    classifier = make("resnet10t").train()
    classifier.net.layer1.eval()  # type: ignore[union-attr, operator]
    modes, state = [module.training for module in classifier.modules()], torch.random.get_rng_state()
    statistics = classifier.net.bn1.running_mean.clone()  # type: ignore[union-attr, operator]
    probe(classifier, "layer4")
    assert [module.training for module in classifier.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(classifier.net.bn1.running_mean, statistics)  # type: ignore[union-attr, arg-type]


class Overflowing(nn.Module):
    """Its first layer is fine, its second is infinite."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.scale, self.pool = nn.Conv2d(1, 4, 3), nn.Softplus(), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.scale(self.conv(x)) * torch.inf).flatten(1)


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    classifier = Classifier(Overflowing(), ClassifierSpec("planted", 4, 1, 1, 8, 0.0, 1.0))
    with pytest.raises(LayerUnusable, match="not finite"):
        probe(classifier, "scale")


@pytest.mark.parametrize(("count", "side"), [(16, 4), (17, None), (15, None)])
def test_tokens_make_a_grid_only_where_their_number_is_a_square(count: int, side: int | None) -> None:
    """Seventeen are a class token and sixteen patches only for a network that says it has a class token."""
    if side is None:
        with pytest.raises(LayerUnusable, match="0 square grids"):
            taps._tokens(nn.Module(), "x", count)
    else:
        assert taps._tokens(nn.Module(), "x", count).grid == (side, side)


def test_a_size_the_network_cannot_take_is_the_models_fault_not_the_layers() -> None:
    classifier = make("efficientformer_l1")
    with pytest.raises(ModelUnusable, match="cannot take images of 96 px"):
        probe(classifier, "stages.-1")


class Places(nn.Module):
    """Cells of a convolution, re-ordered before and put back after the layer `order`: every logit sees every cell."""

    def __init__(self, order: torch.Tensor, side: int = 8, kind: str = "nchw") -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem, self.head = nn.Conv2d(1, 12, 8, 8), nn.Linear(12, 3)
        self.register_buffer("cells", order)
        self.side, self.kind, self.order = side, kind, nn.Identity()
        if kind == "tokens":
            self.cls_token = nn.Parameter(torch.zeros(1, 1, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = self.stem(x).flatten(2)[:, :, self.cells]  # (n, c, cells)
        if self.kind == "tokens":  # the class token behind the patches, where none is expected
            found = self.order(torch.cat([cells.transpose(1, 2), self.cls_token.expand(len(x), -1, -1)], dim=1))
            return self.head(found.relu().mean(dim=1))
        return self.head(self.order(cells.unflatten(2, (self.side, self.side))).relu().mean(dim=(2, 3)))


def in_windows(side: int, window: int) -> torch.Tensor:
    count = side // window
    return torch.arange(side**2).reshape(count, window, count, window).transpose(1, 2).flatten()


CELLS = torch.arange(64).reshape(8, 8)
ORDERS = {
    "transposed": CELLS.T, "mirrored": CELLS.flip(1), "upside down": CELLS.flip(0), "turned": CELLS.flip(0, 1),
    "in windows of 2": in_windows(8, 2), "in windows of 4": in_windows(8, 4), "even rows first": torch.cat([CELLS[::2], CELLS[1::2]]),
    "at random": torch.randperm(64, generator=torch.Generator().manual_seed(3)), "half a window off": CELLS.roll((2, 2), (0, 1)),
}  # fmt: skip


def places(order: torch.Tensor, **how: Any) -> Classifier:
    return Classifier(Places(order.flatten(), **how), ClassifierSpec("planted", 3, 1, 1, 64, 0.5, 0.25)).eval()


def test_cells_in_their_places_are_accepted() -> None:
    assert probe(places(CELLS), "order") == (8, 8)


@pytest.mark.parametrize("order", ORDERS)
def test_a_layer_whose_cells_stand_elsewhere_is_refused_and_the_one_before_it_named(order: str) -> None:
    with pytest.raises(LayerUnusable, match="changes at the wrong cells when a patch of the image changes") as refusal:
        probe(places(ORDERS[order]), "order")
    assert "`layer: stem`, which works" in refusal.value.fix
    assert "each cell must respond to the part of the image at its own place" in refusal.value.reason


def test_a_class_token_behind_the_patches_is_found_by_the_shift_of_one() -> None:
    with pytest.raises(LayerUnusable, match="has its tokens shifted by one"):
        probe(places(CELLS, kind="tokens"), "order")


@pytest.mark.parametrize("block", [0, 1, 2, 4, 9, 10, 11])
@pytest.mark.parametrize("inside", ["", ".norm1", ".norm2"])
def test_the_tokens_of_hiera_are_put_back_in_their_places(hiera: Classifier, block: int, inside: str) -> None:
    side = {0: 24, 1: 12, 2: 12, 4: 6, 9: 6, 10: 3, 11: 3}[block]
    into = {1: 24, 3: 12, 10: 6}.get(block, side)  # a block that pools normalises what enters it
    assert probe(hiera, f"blocks.{block}{inside}") == ((into, into) if inside == ".norm1" else (side, side))


@pytest.mark.slow
def test_in_raster_order_the_tokens_of_hiera_would_be_refused(
    hiera: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taps, "_token_order", lambda *_: ())
    for block in (0, 2, 9):
        with pytest.raises(LayerUnusable, match="changes at the wrong cells"):
            probe(hiera, f"blocks.{block}")
    assert probe(hiera, "blocks.11") == (3, 3)


def test_a_layer_is_probed_by_twelve_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cost, counted: four images for values and gradients, eight patches of the first."""
    classifier, images = make("resnet10t"), list[int]()
    hook = classifier.net.conv1.register_forward_hook(lambda _module, inputs, _output: images.append(len(inputs[0])))  # type: ignore[union-attr, operator]
    probe(classifier, "layer4")
    hook.remove()
    assert sum(images) <= 1 + 4 + 1 + 8


def test_methods_that_share_a_layer_probe_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    probed = list[str]()

    def counting(classifier: Classifier, layer: str) -> tuple[int, int]:
        probed.append(layer)
        return probe(classifier, layer)

    monkeypatch.setattr(bound_method, "probe", counting)
    plain = {"group": "methods", "layer": "auto", "options": {}, "score": "logit", "shuffled": False}
    uses = {name: plain | {"use": name} for name in ("gradcam", "layercam", "hirescam")}
    fine = plain | {"use": "refine", "layer": "layer3", "options": {"of": "layercam"}}
    bound_method.probe_methods(make("resnet10t"), typed_methods(uses | {"fine": fine}))
    assert probed == ["layer4", "layer3"]
