"""Attention methods as a study uses them: shared, refused where a network has no attention that can be read, at their own layer."""

from typing import Any

import pytest
import torch
from small_networks import make, noise, state
from test_attention import CLASSES, KINDS, METHODS, SIDE, SMALL, WIDE, maps, network, use

from gradfaith.attribution import attention, shared_passes
from gradfaith.attribution.methods import attention_rollout, gradient_attention, token_gradcam
from gradfaith.dag.plan import Plan
from gradfaith.errors import MethodUndefined
from gradfaith.runtime.device import AdaptiveBatch


def test_rollout_is_of_no_class_and_the_others_are() -> None:
    classifier, images = network(KINDS[0]), noise(2, SIDE).double()
    for name in METHODS:
        first, second = (maps(use(classifier, name), classifier, images, classes) for classes in (CLASSES, 2 - CLASSES))
        targeted = {"attention_rollout": attention_rollout, "gradient_attention": gradient_attention}.get(
            name, token_gradcam
        )
        assert torch.allclose(first, second) != targeted.METHOD.targeted


def test_a_forward_is_shared_by_targets_and_a_backward_by_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images, passes = network(KINDS[0]), noise(2, SIDE).double(), list[str]()
    hook = classifier.net.register_forward_hook(lambda *_: passes.append("forward"))
    grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *words, **more: passes.append("backward") or grad(*words, **more)
    )
    with shared_passes.open_shared_passes(classifier, images, (), chunk=AdaptiveBatch(8, images.device)) as shared:
        for classes in (CLASSES, 2 - CLASSES):
            inputs = shared.for_target(classes, torch.arange(2), "logit")
            attention_rollout.attribute(inputs.attention(""))
            assert passes.count("backward") == (0 if classes is CLASSES else 1), "rollout asks for no gradient"
            for _ in range(2):
                gradient_attention.attribute(inputs.attention(""))
    hook.remove()
    assert (passes.count("forward"), passes.count("backward")) == (1, 2)


def test_nothing_is_left_behind_after_an_error() -> None:
    classifier = network(KINDS[0])
    before, flags = state(classifier), [getattr(module, "fused_attn", None) for module in classifier.modules()]
    with pytest.raises(AssertionError):
        attention.record_attention(classifier, noise(1, SIDE + 16).double())
    assert state(classifier) == before
    assert [getattr(module, "fused_attn", None) for module in classifier.modules()] == flags


@pytest.mark.parametrize(
    ("timm", "options", "said"),
    [
        ("resnet10t", {}, "no attention"),
        ("efficientnet_b0", {}, "no attention"),
        ("swin_tiny_patch4_window7_224", {"embed_dim": 24, "depths": (1, 1, 2, 2)}, "stages or windows"),
        ("coatnet_pico_rw_224", {}, "stages or windows"),
        ("levit_128s", {}, "no attention that can be read"),
        ("coat_lite_tiny", {}, "stages or windows"),
        ("xcit_nano_12_p16_224", {"depth": 3}, "outside its blocks"),
        ("cait_xxs24_224", {"depth": 3}, "outside its blocks"),
        ("convit_tiny", {"depth": 3}, "other ones than its pooling"),
        ("samvit_base_patch16", WIDE, "each head from every token"),
        ("vit_base_patch16_siglip_224", WIDE, "outside its blocks"),
        ("vit_tiny_patch16_224", SMALL | {"global_pool": "max"}, "global_pool"),
        ("tnt_s_legacy_patch16_224", {"depth": 3}, "exactly once"),
    ],
)
def test_elsewhere_every_attention_method_is_refused_with_the_reason(
    timm: str, options: dict[str, Any], said: str
) -> None:
    classifier = make(timm, SIDE, **options)
    before = state(classifier)
    for name in METHODS:
        with pytest.raises(MethodUndefined, match=said):
            use(classifier, name)
    assert state(classifier) == before


def test_token_gradcam_s_layer_is_its_own_unless_the_study_names_one(tiny: dict[str, Any], root: Any) -> None:
    tiny["architectures"]["net-b"]["layer"] = "blocks.3"
    tiny["bundles"]["tokens"] = {
        "methods": {
            "token_gradcam": {"only": ["net-b"]},
            "early": {"use": "token_gradcam", "layer": "blocks.1", "only": ["net-b"]},
            "attention_rollout": {"only": ["net-b"]},
        }
    }
    plan = Plan.read(tiny, root)
    chosen = {label: plan.layer_of("net-b", how) for label, how in plan.bundles["tokens"].items()}
    assert chosen == {"token_gradcam": "residual", "early": "blocks.1", "attention_rollout": "blocks.3"}
