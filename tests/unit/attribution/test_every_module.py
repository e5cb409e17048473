"""One network of every timm module: layers that the probe accepts are right by another, slower judge, docs/layers.md says so, and
Grad-CAM at the default layer equals the one of a hook and a backward through the whole network.

The judge asks the opposite question, cell by cell and by gradients: which pixels of the image does this cell depend on? It
shares neither patches nor expectations with the probe.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from small_networks import slow_route
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from gradfaith.attribution.methods import gradcam
from gradfaith.attribution.probe import examine_layer, probe
from gradfaith.attribution.taps import GridLayout, tap_layers
from gradfaith.errors import LayerUnusable
from gradfaith.models.classifier import Classifier, probe_images
from gradfaith.models.layers import default_layer, freeze_temporarily, replace_zero_weights
from gradfaith.models.timm_import import timm

ROOT = Path(__file__).parents[3]
CELLS_PER_SIDE = 4  # the cells that are judged lie on a grid of their own
DIRECTIONS = 2  # random sums over the channels
MODULES = re.findall(r'^    "(\w+)": Example\(', (ROOT / "docs/layers.py").read_text(encoding="utf-8"), re.M)


@dataclass(frozen=True)
class Judgement:
    """Where the judged cells stand by what they depend on."""

    agreement: float  # correlation of their rows and columns with those of the pixels they depend on; the worse axis
    offset: float  # how far they stand off on average, in cells


def dependence(classifier: Classifier, layer: str, layout: GridLayout, cells: list[tuple[int, int]]) -> Tensor:
    """How far each cell depends on each part of the image, (cells, h, w): squared gradients of sums over its channels."""
    kept: list[Tensor] = []
    images = probe_images(classifier)[:1].expand(DIRECTIONS, -1, -1, -1).clone().requires_grad_()
    handle = classifier.net.get_submodule(layer).register_forward_hook(lambda *words: kept.append(words[2].clone()))
    with freeze_temporarily(classifier):
        classifier(images)
    handle.remove()
    grid, draw, found = layout.to_grid(kept[0]), torch.Generator().manual_seed(4), []
    for row, column in cells:
        cell = grid[:, :, row, column]
        score = (cell * torch.randn(cell.shape, generator=draw)).sum()
        (gradient,) = torch.autograd.grad(score, images, retain_graph=True)
        found.append(adaptive_avg_pool2d(gradient.square().sum(dim=(0, 1))[None], layout.grid)[0])
    return torch.stack(found)


def judge(classifier: Classifier, layer: str, *, raster: bool = False) -> Judgement:
    """Judge cells at every third of a layer's grid; `raster` reads its tokens row by row, whatever their order."""
    with tap_layers(classifier, layer) as tap:
        tap.forward(probe_images(classifier)[:1])
        layout = replace(tap.layout(), order=()) if raster else tap.layout()
    thirds = [place / (CELLS_PER_SIDE - 1) for place in range(CELLS_PER_SIDE)]
    rows, columns = (sorted({round(place * (side - 1)) for place in thirds}) for side in layout.grid)
    cells = [(row, column) for row in rows for column in columns]
    energy = dependence(classifier, layer, layout, cells)
    energy = energy / energy.sum(dim=(1, 2), keepdim=True)
    own = (energy - energy.mean(dim=0)).clamp(min=0)  # what this cell depends on more than others do
    own = own / own.sum(dim=(1, 2), keepdim=True)
    height, width = (torch.arange(side, dtype=own.dtype) for side in layout.grid)
    centres = torch.stack([own.sum(dim=2) @ height, own.sum(dim=1) @ width])
    places = torch.tensor(cells, dtype=own.dtype).T
    agreement = min(float(torch.corrcoef(torch.stack(pair))[0, 1]) for pair in zip(places, centres, strict=True))
    return Judgement(agreement, float((centres - places).mean(dim=1).abs().max()))


def test_every_module_of_timm_has_an_example_and_a_row(page: ModuleType) -> None:
    from timm.models import _registry

    modules = {name for name, models in _registry._module_to_models.items() if models}
    assert set(page.EXAMPLES) == modules, f"add what timm {timm.__version__} has to docs/layers.py, and run it"
    text = page.PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| (\w+) \|", text, re.M)[1:] == list(page.EXAMPLES), "run `python docs/layers.py`"


def test_the_judge_tells_a_scrambled_layer_from_one_in_order(page: ModuleType) -> None:
    """Hiera's tokens, read row by row as they were before, and in their places."""
    classifier = page.build_example("hiera")
    for layer in ("blocks.2", "blocks.9"):
        assert judge(classifier, layer).agreement > 0.95
        assert judge(classifier, layer, raster=True).agreement < 0.6


def check_gradcam(classifier: Classifier) -> None:
    """Grad-CAM at the default layer, or at the one that a refusal names, is that of the slow route."""
    try:
        layer = default_layer(classifier.net)
        probe(classifier, layer)
    except LayerUnusable as refused:
        named = re.search(r"`layer: (.*?)`", refused.fix)
        layer = named[1] if named else near_layer(classifier, refused)
        probe(classifier, layer)
    images, classes = probe_images(classifier)[:2], torch.tensor([0, 2])
    with replace_zero_weights(classifier):
        _, raw, gradient = slow_route(classifier, layer, images, classes)
        with tap_layers(classifier, layer) as tap:
            tap.forward(images)
            found, layout = gradcam.attribute(tap.single_tap(classes)), tap.layout()
    activation, by_activation = layout.to_grid(raw), layout.to_grid(gradient)
    wanted = torch.einsum("nc,nchw->nhw", by_activation.mean(dim=(2, 3)), activation).clamp(min=0)
    scale = torch.einsum("nc,nchw->nhw", by_activation.mean(dim=(2, 3)).abs(), activation.abs()).amax()
    assert scale > 0
    torch.testing.assert_close(found / scale, wanted / scale, rtol=0, atol=1e-4)


def near_layer(classifier: Classifier, refused: LayerUnusable) -> str:
    """A module of the kind that the refusal recommends: the first, from the end, that gives maps."""
    assert "`layer:`" in refused.fix
    names = [name for name, _ in classifier.net.named_modules() if name.count(".") in (1, 2)]
    return next(name for name in reversed(names) if examine_layer(classifier, name, 2)[1] is None)


def check_module(page: ModuleType, module: str) -> None:
    """The page's row is what the probe says now, and each layer that it says is right is right for the judge, too."""
    verdict = page.examine_example(module)
    assert page.line(module, verdict) in page.PAGE.read_text(encoding="utf-8"), "run `python docs/layers.py`"
    classifier = page.build_example(module)
    check_gradcam(classifier)
    with replace_zero_weights(classifier):
        for one in verdict.layers:
            if not one.fault and one.told:
                found = judge(classifier, one.layer)
                assert found.agreement > 0.8, (one, found)
                # Strided convolutions look half a stride aside, which is more than a cell only of a fine branch (HRNet).
                assert found.offset < max(0.75, one.grid[0] / 18), (one, found)


@pytest.mark.parametrize("module", ["byobnet", "pit", "starnet"])
def test_accepted_layers_of_a_few_networks_are_right(page: ModuleType, module: str) -> None:
    check_module(page, module)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES)
def test_accepted_layers_are_right(page: ModuleType, module: str) -> None:
    check_module(page, module)
