"""Occlusion by hand, and against loops; captum divides by the number of windows in single precision."""

import torch
from asked import TARGET, compute_maps, linear_network, noise, relu_network
from torch.testing import assert_close

from gradfaith.attribution.methods import occlusion

SINGLE = {"rtol": 1e-6, "atol": 1e-8}


def test_by_hand() -> None:
    """Windows of one pixel, on a weighted sum: each pixel gives what it adds."""
    net, weight = linear_network(4)
    images = noise(3, 1, 4, 4)
    found = compute_maps(occlusion, net, images, TARGET, how={"window": 1, "stride": 1}).maps
    assert_close(found, weight[:, 0] * images[:, 0], **SINGLE)


def test_a_pixel_under_two_windows_gets_their_mean() -> None:
    """Side 4, windows of 3, 2 apart, the last flush with the border: corners 0 and 1."""
    assert occlusion.window_corners(4, 4, 3, 2) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    net, weight = linear_network(4)
    image = noise(1, 1, 4, 4)
    drops = weight[0, 0] * (image[0, 0] - 0.3)
    windows = {
        corner: drops[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3].sum()
        for corner in occlusion.window_corners(4, 4, 3, 2)
    }
    found = compute_maps(
        occlusion, net, image, TARGET[:1], how={"window": 3, "stride": 2, "fill": "mean"}, mean=0.3
    ).maps[0]
    assert_close(found[0, 0], windows[0, 0], **SINGLE)
    assert_close(found[3, 3], windows[1, 1], **SINGLE)
    assert_close(found[0, 2], (windows[0, 0] + windows[0, 1]) / 2, **SINGLE)
    assert_close(found[2, 1], sum(windows.values()) / 4, **SINGLE)


def test_every_pixel_is_covered_and_shares_are_of_the_shorter_side() -> None:
    covered = torch.zeros(40, 56)
    for top, left in occlusion.window_corners(40, 56, 0.3, 0.2):
        covered[top : top + 12, left : left + 12] += 1
    assert covered.min() >= 1
    assert covered[0, -1] == covered[-1, -1] == 1
    assert occlusion.window_corners(40, 56, 0.3, 0.2) == occlusion.window_corners(40, 56, 12, 8)
    assert occlusion.window_corners(5, 5, 9, 1) == [(0, 0)], "a window larger than the image covers it whole"


def test_it_is_the_loop_written_out() -> None:
    net, images = relu_network(channels=2), noise(3, 2, 13, 10)
    slow, times = torch.zeros(3, 13, 10).double(), torch.zeros(13, 10)
    with torch.no_grad():
        whole = net(images).gather(1, TARGET[:, None])[:, 0]
        for top in (0, 3, 6, 9):
            for left in (0, 3, 6):
                changed = images.clone()
                changed[:, :, top : top + 4, left : left + 4] = 0
                drop = whole - net(changed).gather(1, TARGET[:, None])[:, 0]
                slow[:, top : top + 4, left : left + 4] += drop[:, None, None]
                times[top : top + 4, left : left + 4] += 1
    found = compute_maps(occlusion, net, images, TARGET, how={"window": 4, "stride": 3}).maps
    assert_close(found, slow / times, **SINGLE)
