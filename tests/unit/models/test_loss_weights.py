"""What an image weighs: pieces of a batch add up to the whole, and blends are the formula's."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from gradfaith.models.training.optimiser import LossWeights, Mixup, draw_mixup

CPU = torch.device("cpu")
DRAW = torch.Generator().manual_seed(4)
LABELS = torch.randint(0, 3, (20,), generator=DRAW)
LOGITS = torch.randn(12, 3, generator=DRAW)
INDEX = torch.randperm(20, generator=DRAW)[:12]
CLASSES, IMAGES = torch.tensor([0.5, 1.0, 3.0]), torch.rand(20, generator=DRAW) + 0.1


@pytest.mark.parametrize("classes", [None, CLASSES])
@pytest.mark.parametrize("images", [None, IMAGES])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_weighed_mean_and_pieces_add_up_to_it(
    classes: Tensor | None, images: Tensor | None, smoothing: float
) -> None:
    weighing = LossWeights(LABELS, classes, images, smoothing)
    whole = weighing.loss(LOGITS, INDEX, INDEX)
    total, weight = 0.0, 0.0
    for logits, image in zip(LOGITS, INDEX, strict=True):
        label = int(LABELS[image])
        of_image = float(images[image]) if images is not None else 1.0
        each = float(classes[label]) if classes is not None else 1.0
        losses = -logits.log_softmax(0) * (classes if classes is not None else 1)
        total += of_image * float((1 - smoothing) * losses[label] + smoothing * losses.mean())
        weight += of_image * each
    assert float(whole) == pytest.approx(total / weight, rel=1e-5)
    cuts = [slice(0, 5), slice(5, 7), slice(7, 12)]
    assert_close(sum(weighing.loss(LOGITS[cut], INDEX[cut], INDEX) for cut in cuts), whole)


def test_a_blend_is_a_share_of_each_of_a_pair() -> None:
    pictures = torch.arange(4.0).view(4, 1, 1, 1)
    mixed = Mixup(torch.tensor([1, 0, 3, 2]), 0.75).mix_images(pictures)
    assert mixed.flatten().tolist() == [0.25, 0.75, 2.25, 2.75]


def test_blends_are_drawn_by_name_from_a_beta_distribution() -> None:
    assert draw_mixup(0.0, 5, CPU, 1) is None
    one, other, same = draw_mixup(0.4, 9, CPU, 1, "a"), draw_mixup(0.4, 9, CPU, 1, "b"), draw_mixup(0.4, 9, CPU, 1, "a")
    assert one is not None
    assert other is not None
    assert same is not None
    assert (one.share, one.partner.tolist()) == (same.share, same.partner.tolist())
    assert one.share != other.share
    assert sorted(one.partner.tolist()) == list(range(9))
    shares = torch.tensor([found.share for number in range(2000) if (found := draw_mixup(2.0, 2, CPU, number))])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.02)
    assert float(shares.var()) == pytest.approx(1 / 20, rel=0.1)  # of Beta(2, 2)


def test_the_loss_of_a_blend_is_that_of_blended_labels() -> None:
    """Cross-entropy is linear in the label: the blend of two losses is the loss of the blended one-hot labels."""
    mix = Mixup(torch.randperm(12, generator=DRAW), 0.3)
    weighing = LossWeights(LABELS, None, None, 0.0)
    others = INDEX[mix.partner]
    found = mix.share * weighing.loss(LOGITS, INDEX, INDEX) + (1 - mix.share) * weighing.loss(LOGITS, others, others)
    hot = [functional.one_hot(LABELS[index], 3).float() for index in (INDEX, others)]
    assert_close(found, functional.cross_entropy(LOGITS, mix.share * hot[0] + (1 - mix.share) * hot[1]))
