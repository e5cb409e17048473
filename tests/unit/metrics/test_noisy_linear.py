"""The noisy linear imputer: what it removes, what it fills with (test_harmonic_imputer.py judges how), and whose noise it adds."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from gradfaith.errors import StudyInvalid
from gradfaith.metrics.contract import Context
from gradfaith.metrics.imputers import noisy_linear
from gradfaith.metrics.imputers.harmonic import solve


def uniform(*size: int, seed: int = 0) -> Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(seed))


MAP = interpolate(uniform(1, 1, 7, 7, seed=3), size=(24, 30), mode="bilinear")[0, 0]
IMAGES = uniform(3, 2, 24, 30, seed=7)
SCATTERED, WHOLE = uniform(24, 30) > 0.4, torch.ones(24, 30) > 0
KEEP = torch.stack([MAP.gt(MAP.quantile(0.6)), SCATTERED, WHOLE]).float()
CONTEXT = Context(KEEP, None, ["a", "b", "c"], ("study", 1), "most 0.4")


def test_noise_is_of_the_stated_size_and_on_removed_pixels_only():
    images, keep = torch.full((1, 1, 100, 100), 0.5), torch.ones(1, 100, 100)
    keep[:, :, 1:] = 0
    plain = noisy_linear.fill(images, Context(keep), noise=0)
    noise = noisy_linear.fill(images, Context(keep, None, ["a"]), noise=0.02) - plain
    assert (noise[..., 0] == 0).all()
    assert float(noise[..., 1:].std()) == pytest.approx(0.02, rel=0.03)
    assert abs(float(noise.mean())) < 0.001


def test_noise_belongs_to_the_image_and_the_change_whatever_the_batch_and_the_order():
    whole = noisy_linear.fill(IMAGES, CONTEXT)
    turned = Context(KEEP[[1, 0, 1]], None, ["b", "a", "b"], CONTEXT.key, CONTEXT.change)
    assert_close(noisy_linear.fill(IMAGES[[1, 0, 1]], turned), whole[[1, 0, 1]], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "other", [{"key": ("study", 2)}, {"change": "most 0.2"}, {"image_ids": ["x", "y", "z"]}], ids=str
)
def test_noise_is_another_for_another_seed_change_or_image(other):
    context = Context(**{**vars(CONTEXT), **other})
    gap = (noisy_linear.fill(IMAGES, context) - noisy_linear.fill(IMAGES, CONTEXT)).abs()
    removed = (KEEP < 0.5)[:, None].expand_as(gap)
    assert gap[~removed].max() == 0
    assert gap[removed].median() > 0.005


def test_noise_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    noisy_linear.fill(IMAGES, CONTEXT)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_stops_at_black_and_white():
    images, keep = torch.zeros(1, 2, 20, 20), uniform(1, 20, 20) > 0.5
    images[:, 1] = 1
    filled = noisy_linear.fill(images, Context(keep.float(), None, ["a"]))
    assert filled.min() == 0
    assert filled.max() == 1
    assert (filled[:, 0] > 0).any()
    assert (filled[:, 1] < 1).any()


def test_noise_without_names_is_refused():
    with pytest.raises(StudyInvalid, match="3 images, but 0 image ids are given"):
        noisy_linear.fill(IMAGES, Context(KEEP))


def test_less_than_half_kept_counts_as_removed():
    soft = uniform(3, 24, 30, seed=2)
    hard = noisy_linear.fill(IMAGES, Context((soft >= 0.5).float()), noise=0)
    assert torch.equal(noisy_linear.fill(IMAGES, Context(soft), noise=0), hard)
    assert torch.equal((hard == IMAGES).all(dim=1), soft >= 0.5)


def test_everything_kept_is_the_image_and_nothing_kept_the_datasets_mean():
    keep, mean = torch.stack([torch.ones(24, 30), torch.zeros(24, 30), KEEP[0]]), torch.tensor([0.25, 0.75])
    filled = noisy_linear.fill(IMAGES, Context(keep, mean), noise=0)
    assert torch.equal(filled[0], IMAGES[0])
    assert torch.equal(filled[1], mean[:, None, None].expand(2, 24, 30))
    assert_close(filled[2], solve(IMAGES[2:], KEEP[:1])[0], rtol=0, atol=1e-6)
    noisy = noisy_linear.fill(IMAGES, Context(keep, mean, ["a", "b", "c"]))
    assert torch.equal(noisy[0], IMAGES[0])
    assert float((noisy[1] - filled[1]).std()) == pytest.approx(0.01, rel=0.1)
