"""Attention methods are the formulas written out in loops, on every kind of head; how a study uses them is in test_attention_methods.py."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_networks import make, noise, slow_route, state
from torch import Tensor, nn
from torch.testing import assert_close
from typed import typed_methods

from gradfaith.attribution import attention, shared_passes
from gradfaith.attribution.bound_method import BoundMethod, MethodCall, bind_methods
from gradfaith.attribution.contract import target_score
from gradfaith.attribution.methods import token_gradcam
from gradfaith.models.classifier import Classifier
from gradfaith.runtime.device import AdaptiveBatch

SIDE, GRID, CLASSES = 96, 6, torch.tensor([2, 0])
SMALL = {"depth": 3, "embed_dim": 48, "num_heads": 3}
WIDE = {"depth": 3, "embed_dim": 64, "num_heads": 2}
METHODS = ("attention_rollout", "gradient_attention", "token_gradcam")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """What a person would say of a network: the tokens before the patches, and those the head reads."""

    timm: str
    prefix: int
    read: list[int]
    options: dict[str, Any] = field(default_factory=lambda: SMALL)


def patches(prefix: int) -> list[int]:
    return list(range(prefix, prefix + GRID**2))


KINDS = [
    Kind("vit_tiny_patch16_224", 1, [0]),
    Kind("vit_base_patch16_gap_224", 0, patches(0)),
    Kind("deit_tiny_distilled_patch16_224", 2, [0, 1]),
    Kind("vit_medium_patch16_reg4_gap_256", 4, patches(4)),
    Kind("vit_small_patch16_224", 5, [0], SMALL | {"reg_tokens": 4}),
    Kind("vit_small_patch16_dinov3", 5, patches(5), WIDE),
    Kind("beit_base_patch16_224", 1, patches(1), WIDE),
]
PLAIN = KINDS[:5]  # whose attention is softmax(q k / sqrt(d)) and nothing else
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.timm}-{kind.prefix}")


def network(kind: Kind) -> Classifier:
    return make(kind.timm, SIDE, **kind.options).double().eval()


def use(classifier: Classifier, name: str, **options: Any) -> BoundMethod:
    how = {"group": "methods", "use": name, "layer": "auto", "options": options, "score": "logit", "shuffled": False}
    how["layer"] = token_gradcam.METHOD.default_layer if name == "token_gradcam" else "auto"
    return bind_methods(classifier, typed_methods({name: how}))[0]


def maps(
    one: BoundMethod, classifier: Classifier, images: Tensor, classes: Tensor, rows: Tensor | None = None
) -> Tensor:
    """As a cell asks for them."""
    rows = torch.arange(len(images)) if rows is None else rows
    with shared_passes.open_shared_passes(
        classifier, images, one.layers, chunk=AdaptiveBatch(8, images.device)
    ) as shared:
        found = one.attribute(MethodCall(shared.for_target(classes, rows, one.score), [], (1, 1), None))
    assert isinstance(found, Tensor)
    return found


@every_kind
def test_weights_are_rows_of_shares_and_logits_are_the_fused_ones(kind: Kind) -> None:
    classifier, images = network(kind), noise(2, SIDE).double()
    before, untouched = state(classifier), images.clone()
    flags = [getattr(module, "fused_attn", None) for module in classifier.modules()]
    assert True in flags
    fused = classifier(images)
    found = attention.record_attention(classifier, images)
    assert_close(found.logits, fused, rtol=1e-9, atol=1e-12)
    asked = found.for_target(CLASSES)
    tokens = kind.prefix + GRID**2
    assert [weights.shape for weights in asked.weights] == [(2, kind.options["num_heads"], tokens, tokens)] * 3
    for weights in asked.weights:
        assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))
        assert (weights >= 0).all()
    assert (asked.prefix_tokens, asked.grid) == (kind.prefix, (GRID, GRID))
    assert asked.read_weights()[0].nonzero()[:, 0].tolist() == kind.read
    assert state(classifier) == before
    assert [getattr(module, "fused_attn", None) for module in classifier.modules()] == flags
    assert torch.equal(images, untouched)


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: f"{kind.timm}-{kind.prefix}")
def test_weights_are_the_softmax_of_queries_and_keys(kind: Kind) -> None:
    classifier, images, entered = network(kind), noise(2, SIDE).double(), list[Tensor]()
    hooks = [
        block.attn.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
        for block in classifier.net.blocks
    ]
    with torch.no_grad():
        classifier(images)
    for hook in hooks:
        hook.remove()
    for block, x, weights in zip(
        classifier.net.blocks, entered, attention.record_attention(classifier, images).weights, strict=True
    ):
        width = x.shape[-1] // block.attn.num_heads
        query, key, _ = block.attn.qkv(x).chunk(3, dim=-1)
        for head in range(block.attn.num_heads):
            own = slice(head * width, (head + 1) * width)
            expected = (query[..., own] @ key[..., own].transpose(1, 2) / math.sqrt(width)).exp()
            assert_close(weights[:, head].detach(), (expected / expected.sum(-1, keepdim=True)).detach())


@every_kind
def test_gradients_are_those_of_nudging_a_weight(kind: Kind) -> None:
    """Only forwards: one weight of one block a little more, a little less."""
    classifier, images, step = network(kind), noise(1, SIDE).double(), 1e-3
    classes = torch.tensor([1])
    found = attention.record_attention(classifier, images).for_target(classes, kind="margin").gradients()
    draw = np.random.default_rng(0)
    for block, gradient in enumerate(found):
        assert gradient.abs().amax() > 0
        for _ in range(4):
            place = tuple(draw.integers(0, size) for size in gradient.shape)
            ends = [nudged(classifier, images, classes, block, place, sign * step) for sign in (1, -1)]
            assert_close(gradient[place], (ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-12)


def nudged(
    classifier: Classifier, images: Tensor, classes: Tensor, block: int, place: tuple[int, ...], step: float
) -> Tensor:
    module = classifier.net.blocks[block].attn

    def nudge(_module: nn.Module, _inputs: object, weights: Tensor) -> Tensor:
        changed = weights.clone()
        changed[place] += step
        return changed

    hook = module.attn_drop.register_forward_hook(nudge)
    module.fused_attn = False
    try:
        with torch.no_grad():
            return target_score(classifier(images), classes, "margin")[0]
    finally:
        module.fused_attn = True
        hook.remove()


def by_hand(kind: Kind, weights: list[Array], of_block: Any, shortcut: float) -> Array:
    """The whole matrix multiplied through the blocks, entry by entry; then the rows that are read, at the patches."""
    tokens = kind.prefix + GRID**2
    through = [[1.0 if i == j else 0.0 for j in range(tokens)] for i in range(tokens)]
    for block in range(len(weights)):
        mix = [[of_block(block, i, j) for j in range(tokens)] for i in range(tokens)]
        for i in range(tokens):
            mix[i][i] += shortcut
            if shortcut == 0.5:  # rollout's rows are shares again
                total = sum(mix[i])
                mix[i] = [value / total for value in mix[i]]
        columns = list(zip(*through, strict=True))
        through = [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in mix]
    read = [sum(through[i][j] for i in kind.read) / len(kind.read) for j in range(kind.prefix, tokens)]
    return np.array([[read[row * GRID + column] for column in range(GRID)] for row in range(GRID)])


@every_kind
@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rollout_is_the_formula_in_loops(kind: Kind, heads: str) -> None:
    classifier, images = network(kind), noise(1, SIDE).double()
    weights = [one[0].detach().numpy() for one in attention.record_attention(classifier, images).weights]
    fuse = {"mean": lambda values: sum(values) / len(values), "max": max, "min": min}[heads]
    expected = by_hand(
        kind, weights, lambda block, i, j: 0.5 * fuse([head[i, j] for head in weights[block]]), shortcut=0.5
    )
    found = maps(use(classifier, "attention_rollout", heads=heads), classifier, images, CLASSES[:1])[0]
    assert_close(found, torch.from_numpy(expected), rtol=1e-9, atol=1e-14)
    assert found.std() > 0


@every_kind
def test_gradient_attention_is_the_formula_in_loops(kind: Kind) -> None:
    classifier, images = network(kind), noise(1, SIDE).double()
    asked = attention.record_attention(classifier, images).for_target(CLASSES[:1])
    weights, gradients = ([one[0].numpy() for one in many] for many in (asked.weights, asked.gradients()))

    def raised(block: int, i: int, j: int) -> float:
        products = [g[i, j] * a[i, j] for g, a in zip(gradients[block], weights[block], strict=True)]
        return sum(max(product, 0.0) for product in products) / len(products)

    found = maps(use(classifier, "gradient_attention"), classifier, images, CLASSES[:1])[0]
    assert_close(found, torch.from_numpy(by_hand(kind, weights, raised, shortcut=1.0)), rtol=1e-9, atol=1e-14)
    assert found.std() > 0


@every_kind
def test_token_gradcam_reads_the_deepest_block_whose_patches_reach_the_score(kind: Kind) -> None:
    classifier, images = network(kind), noise(2, SIDE).double()
    reaching = []
    for block in range(3):
        _, raw, gradient = slow_route(classifier, f"blocks.{block}", images, CLASSES)
        own, slope = raw[:, kind.prefix :], gradient[:, kind.prefix :]
        if (slope.abs().amax(dim=(0, 2)) > 0).all():
            reaching.append((f"blocks.{block}", own, slope))
        else:
            assert not slope.any(), "all of them are cut off, or none"
    layer, own, slope = reaching[-1]
    assert layer == ("blocks.2" if len(kind.read) == GRID**2 else "blocks.1")
    expected = torch.zeros(2, GRID, GRID, dtype=torch.float64)
    for image in range(2):
        for token in range(GRID**2):
            value = sum(slope[image, :, k].mean() * own[image, token, k] for k in range(own.shape[2]))
            expected[image, token // GRID, token % GRID] = max(float(value), 0.0)
    one = use(classifier, "token_gradcam")
    assert one.layers == (layer,)
    assert_close(maps(one, classifier, images, CLASSES), expected, rtol=1e-6, atol=1e-12)


@every_kind
@pytest.mark.parametrize("name", METHODS)
def test_a_batch_is_its_images_one_by_one_whatever_rows_are_asked(kind: Kind, name: str) -> None:
    classifier, images = network(kind), noise(3, SIDE).double()
    classes, one = torch.tensor([2, 0, 1]), use(classifier, name)
    alone = torch.cat([maps(one, classifier, images[row : row + 1], classes[row : row + 1]) for row in range(3)])
    assert_close(maps(one, classifier, images, classes), alone, rtol=1e-6, atol=1e-14)
    rows = torch.tensor([2, 0])
    assert_close(maps(one, classifier, images, classes[rows], rows), alone[rows], rtol=1e-6, atol=1e-14)
