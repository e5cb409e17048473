"""RISE: the written-out mean, masks as the original draws them, and evidence that a score is known to read."""

import torch
from asked import TARGET, compute_maps, draw_weights, noise, open_image_inputs, relu_network
from torch import Generator, Tensor, nn
from torch.testing import assert_close

from gradfaith.attribution.methods import rise

IMAGES = noise(3, 2, 20, 15)


def masks_of(row: int, count: int, grid: int, keep: float) -> Tensor:
    drawn = rise.RandomMasks(count, grid, keep, (20, 15), Generator().manual_seed(row))
    return drawn.build(slice(0, count), IMAGES)


def test_it_is_the_mean_written_out() -> None:
    net, how = relu_network(channels=2), {"masks": 11, "grid": 3, "keep": 0.4, "fill": "mean"}
    found = compute_maps(rise, net, IMAGES, TARGET, how=how, mean=0.5, std=0.25, chunk=4).maps
    for row, image in enumerate(IMAGES):
        masks = masks_of(row, 11, 3, 0.4)
        with torch.no_grad():
            shown = 0.5 + (image - 0.5) * masks[:, None]
            scores = net((shown - 0.5) / 0.25)[:, TARGET[row]]
        expected = (scores[:, None, None] * masks).sum(dim=0) / masks.sum(dim=0) - scores.mean()
        assert_close(found[row], expected, rtol=1e-9, atol=1e-12)


def test_masks_are_cells_enlarged_and_shifted() -> None:
    masks = masks_of(0, 400, 4, 0.25)
    assert masks.shape == (400, 20, 15)
    assert 0 <= masks.min() < masks.max() <= 1
    assert abs(float(masks.mean()) - 0.25) < 0.02
    steps = (masks[:, 1:] - masks[:, :-1]).abs().amax()
    assert steps <= 1 / 5 + 1e-9, "bilinear between cells of 5 pixels"
    parts = torch.cat(
        [
            rise.RandomMasks(400, 4, 0.25, (20, 15), Generator().manual_seed(0)).build(slice(a, b), IMAGES)
            for a, b in ((0, 7), (7, 400))
        ]
    )
    assert torch.equal(parts, masks), "a mask that is built again is the same mask"


def test_the_level_of_the_score_does_not_matter() -> None:
    """A constant added to every logit would show, in the original, how often a pixel was visible."""
    net = relu_network(channels=2)
    before = compute_maps(rise, net, IMAGES, TARGET, how={"masks": 30}).maps
    with torch.no_grad():
        net[-1].bias += 100
    assert_close(compute_maps(rise, net, IMAGES, TARGET, how={"masks": 30}).maps, before, rtol=1e-6, atol=1e-9)


def test_the_region_that_a_score_reads_is_found() -> None:
    net = draw_weights(nn.Sequential(nn.Flatten(), nn.Linear(2 * 20 * 15, 3)))
    with torch.no_grad():
        weight = torch.zeros(3, 2, 20, 15)
        weight[:, :, 3:9, 8:13] = 1
        net[1].weight.copy_(weight.flatten(1))
    found = compute_maps(rise, net, IMAGES, TARGET, how={"masks": 600}).maps
    inside = weight[:, 0].bool()
    assert all(map_[there].mean() > 5 * map_[~there].abs().mean() for map_, there in zip(found, inside, strict=True))


def test_a_pixel_that_no_mask_shows_has_no_value_but_zero() -> None:
    with open_image_inputs(relu_network(channels=2), IMAGES, TARGET) as given:
        found = rise.attribute(given, masks=1, grid=2, keep=1e-9)
    assert not found.any()
