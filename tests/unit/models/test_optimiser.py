"""Recipes beyond the plain one: what is frozen stays to the bit, early layers learn slower, averages follow, patience ends."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_training_loop import PARTS, RECIPE, SPEC, blobs, equal, run
from torch.optim import AdamW
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.testing import assert_close

from gradfaith import rng
from gradfaith.config.sections import Recipe
from gradfaith.errors import DeviceMissing, ModelUnusable
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.models.training import loop as training
from gradfaith.models.training import optimiser
from gradfaith.models.training.image_source import ImagesOnDevice
from gradfaith.models.training.loop import TrainedClassifier, train

VIT = ClassifierSpec("test_vit", 3, 1, 1, 32, 0.4, 0.25, {"img_size": 32, "patch_size": 8})
CPU = torch.device("cpu")


def changed(trained: TrainedClassifier, spec: ClassifierSpec = SPEC, seed: int = 0) -> set[str]:
    """Which tensors are not those that training began with."""
    before = build_classifier(spec, seed=rng.seed(seed, "initialisation")).state_dict()
    return {name for name, value in trained.classifier.state_dict().items() if not torch.equal(value, before[name])}


def test_the_first_groups_stay_to_the_bit_with_their_statistics() -> None:
    moved = {name.split(".")[1] for name in changed(run(recipe=replace(RECIPE, freeze=3)))}
    assert moved == {"layer3", "layer4", "fc"}


def test_the_whole_backbone_can_stay() -> None:
    assert changed(run(recipe=replace(RECIPE, freeze="backbone"))) == {"net.fc.weight", "net.fc.bias"}


def test_a_transformer_is_frozen_by_its_own_groups() -> None:
    images, labels = blobs()
    trained = train(VIT, replace(RECIPE, freeze=1), ImagesOnDevice(images), labels, PARTS, seed=0)
    moved = changed(trained, VIT)
    assert not {name for name in moved if name.startswith(("net.cls_token", "net.pos_embed", "net.patch_embed"))}
    assert "net.blocks.0.norm1.weight" in moved


def test_more_groups_than_there_are_is_refused() -> None:
    with pytest.raises(
        ModelUnusable, match=r"training\.freeze is 6, but test_resnet has 5 groups of layers before its head"
    ):
        run(recipe=replace(RECIPE, freeze=6))


def test_each_group_of_layers_learns_slower_than_the_next() -> None:
    classifier = build_classifier(VIT)
    recipe = Recipe(epochs=1, lr=1.0, layer_decay=0.5, weight_decay=0.1)
    made = optimiser.build_optimizer(classifier, recipe, CPU)
    optimiser.set_learning_rate(made, 0.8)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in made.param_groups for p in group["params"]}
    named = dict(classifier.net.named_parameters())
    blocks = 1 + max(int(name.split(".")[1]) for name in named if name.startswith("blocks."))
    assert rates[id(named["head.weight"])] == (0.8, 0.1)
    for block in range(blocks):
        expected = 0.8 * 0.5 ** (blocks - block)  # after it: the other blocks, the last with the norm, and the head
        assert rates[id(named[f"blocks.{block}.mlp.fc1.weight"])][0] == pytest.approx(expected)
    assert rates[id(named["patch_embed.proj.weight"])][0] == pytest.approx(0.8 * 0.5 ** (blocks + 1))
    assert rates[id(named["head.bias"])] == (0.8, 0.0)
    assert len(rates) == len(named)


def test_moments_come_back_in_the_order_of_memory_of_their_parameters() -> None:
    recipe = Recipe(epochs=1)
    one, other = (build_classifier(SPEC, seed=1).to(memory_format=torch.channels_last) for _ in range(2))  # type: ignore[call-overload]
    made, again = (optimiser.build_optimizer(net, recipe, CPU) for net in (one, other))
    for net, optimizer in ((one, made),):
        torch.autograd.backward(net(torch.rand(2, 1, 32, 32)).sum())
        optimizer.step()
    kept = {name: value.contiguous() for name, value in optimiser.optimizer_state(made).items()}
    optimiser.restore_optimizer(again, kept)
    for name, value in optimiser.optimizer_state(again).items():
        assert torch.equal(value, kept[name])
    strides = [
        [state["exp_avg"].stride() for state in optimizer.state_dict()["state"].values()] for optimizer in (made, again)
    ]
    assert strides[0] == strides[1]


def test_an_average_follows_the_weights_statistics_and_counters() -> None:
    classifier = build_classifier(SPEC, seed=1)
    average = optimiser.WeightAverage(classifier, 0.5)
    start = {name: value.clone() for name, value in classifier.state_dict().items()}
    literal = {name: value.clone() for name, value in start.items()}
    for step in range(12):
        with torch.no_grad():
            for value in classifier.state_dict().values():
                value.add_(1)
        average.update(classifier, step)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, value in classifier.state_dict().items():
            old = literal[name]
            literal[name] = decay * old + (1 - decay) * value if value.is_floating_point() else value.clone()
    for name, value in average.classifier.state_dict().items():
        assert_close(value, literal[name])
    assert not average.classifier.training


def test_with_an_average_it_is_what_is_validated_and_kept() -> None:
    plain, averaged = run(recipe=replace(RECIPE, epochs=1)), run(recipe=replace(RECIPE, epochs=1, ema=0.9))
    assert plain.history[0].train_loss == averaged.history[0].train_loss, "the steps are the same"
    assert plain.history[0].val_loss != averaged.history[0].val_loss
    assert not equal(plain, averaged)
    images, labels = blobs()
    logits = averaged.classifier(images[42:].float() / 255).detach()
    assert float(torch.nn.functional.cross_entropy(logits, labels[42:])) == pytest.approx(averaged.history[0].val_loss)


def test_patience_ends_a_training_and_the_best_weights_are_kept() -> None:
    long = run(recipe=replace(RECIPE, epochs=9, lr=1e-2))
    ranks = [row.rank for row in long.history]
    best, patience = 0, 2
    for number, rank in enumerate(ranks):  # the first epoch that has no better one among the next two
        best = number if rank > ranks[best] else best
        if number - best >= patience:
            break
    else:
        pytest.fail("choose a recipe that stops getting better")
    short = run(recipe=replace(RECIPE, epochs=9, lr=1e-2, patience=patience))
    assert len(short.history) == best + 1 + patience < 9
    assert short.best_epoch == best + 1
    assert [row.val_loss for row in short.history] == [row.val_loss for row in long.history[: len(short.history)]]


@pytest.mark.parametrize("blended", [0.0, 0.5])
def test_a_batch_in_pieces_gives_the_same_weights_but_for_rounding(blended: float) -> None:
    images, labels = blobs()

    def trained(pieces: int) -> dict[str, Any]:
        recipe = replace(RECIPE, accumulate=pieces, mixup=blended, class_weights=True, group_weights=True, lr=1e-3)
        groups = torch.arange(60) // 7
        found = train(VIT, recipe, ImagesOnDevice(images), labels, PARTS, seed=0, groups=groups)
        return found.classifier.state_dict()

    one, three = trained(1), trained(3)
    for name, value in one.items():
        assert_close(three[name], value, rtol=1e-3, atol=2e-5)
    assert any(not torch.equal(three[name], value) for name, value in one.items())


def test_bfloat16_rounds_the_passes_and_leaves_weights_and_validation_in_single_precision() -> None:
    whole, half = run(), run(recipe=replace(RECIPE, precision="bf16"))
    assert {value.dtype for value in half.classifier.state_dict().values()} <= {torch.float32, torch.int64}
    assert half.history[0].train_loss != whole.history[0].train_loss
    assert half.history[0].train_loss == pytest.approx(whole.history[0].train_loss, rel=0.02)


def test_another_order_of_memory_only_rounds() -> None:
    plain, last = run(), run(recipe=replace(RECIPE, channels_last=True))
    assert last.history[0].train_loss == pytest.approx(plain.history[0].train_loss, rel=1e-4)


def test_half_precision_is_refused_where_it_has_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    half = replace(RECIPE, precision="fp16", epochs=1)
    with pytest.raises(DeviceMissing, match="fp16, but the device is cpu"):
        run(recipe=half)
    monkeypatch.setattr(
        training, "_check_precision", lambda *_: None
    )  # torch's CPU can do it slowly: enough to run the scaled steps
    scaled = run(recipe=half)
    assert scaled.history[0].train_loss == pytest.approx(run().history[0].train_loss, rel=0.02)


@pytest.mark.parametrize("precision", ["float32", "fp16"])
def test_a_long_gradient_is_cut_to_its_largest_norm_and_a_short_one_is_left(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Of the true gradient: the loss's own, however it is scaled and in however many pieces it comes."""
    monkeypatch.setattr(training, "_check_precision", lambda *_: None)
    norms: list[float] = []

    def seen(optimizer: AdamW, *_: object) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        scale = getattr(optimizer, "grad_scale", None)  # what a fused optimiser is still to divide by
        norms.append(float(torch.nn.utils.get_total_norm(gradients)) / float(1 if scale is None else scale))

    hook = register_optimizer_step_pre_hook(seen)
    recipe = replace(RECIPE, precision=precision, accumulate=2, freeze=1, clip=1e9)  # type: ignore[arg-type]
    try:
        free = run(recipe=recipe)
        limit, found = sorted(norms)[len(norms) // 2], list(norms)
        norms.clear()
        cut = run(recipe=replace(recipe, clip=limit))
    finally:
        hook.remove()
    assert norms[0] == pytest.approx(min(found[0], limit), rel=1e-4)
    assert max(norms) == pytest.approx(limit, rel=1e-4)
    assert not equal(free, cut)
    if precision == "float32":
        assert equal(free, run(recipe=replace(recipe, clip=0.0))), "none is cut, none is moved"


@pytest.mark.slow
def test_through_the_compiler_it_is_the_same_training_but_for_rounding() -> None:
    plain, compiled = run(recipe=replace(RECIPE, epochs=1)), run(recipe=replace(RECIPE, epochs=1, compile=True))
    assert compiled.history[0].train_loss == pytest.approx(plain.history[0].train_loss, rel=1e-3)
    assert compiled.classifier.state_dict().keys() == plain.classifier.state_dict().keys()
