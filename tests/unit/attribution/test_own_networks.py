"""Networks that are not timm's: built from a callable, described, given a layer, explained."""

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_networks import noise, slow_route, state
from torch import Tensor, nn

from gradfaith.attribution.probe import examine_layer, probe
from gradfaith.attribution.taps import tap_layers
from gradfaith.errors import GradFaithError, LayerUnusable, ModelUnusable
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.heads import read_logits
from gradfaith.models.layers import default_layer, head_names, layer_stack
from gradfaith.models.randomise import randomise_in_steps
from gradfaith.models.timm_import import timm  # torchvision needs its shim
from gradfaith.models.training.optimiser import freeze_layers

TORCHVISION: dict[str, tuple[dict[str, Any], str, str]] = {  # callable -> options, layer, head
    "resnet18": ({}, "layer4", "fc"),
    "vgg11": ({}, "features", "classifier.6"),
    "densenet121": ({}, "features", "classifier"),
    "efficientnet_b0": ({}, "features", "classifier.1"),
    "convnext_tiny": ({}, "features", "classifier.2"),
    "vit_b_32": ({"image_size": 96}, "encoder.layers.encoder_layer_11.ln_1", "heads.head"),
    "swin_t": ({}, "norm", "head"),
    "shufflenet_v2_x0_5": ({}, "conv5", "fc"),
}
PLANE = {"spatial_dims": 2}
MONAI: dict[str, tuple[dict[str, Any], str, str]] = {
    "DenseNet121": (PLANE | {"in_channels": 3, "out_channels": 3}, "features", "class_layers.out"),
    "SEResNet50": (PLANE | {"in_channels": 3, "num_classes": 3}, "layer4", "last_linear"),
    "EfficientNetBN": (
        PLANE | {"model_name": "efficientnet-b0", "in_channels": 3, "num_classes": 3, "pretrained": False},
        "_bn1",
        "_fc",
    ),
    "resnet18": (PLANE | {"n_input_channels": 3, "num_classes": 3}, "layer4", "fc"),
    "Classifier": ({"in_shape": (3, 96, 96), "classes": 3, "channels": (8, 16), "strides": (2, 2)}, "net", "final.1"),
    "SENet154": (PLANE | {"in_channels": 3, "num_classes": 3, "layers": (1, 1, 1, 1)}, "layer4", "last_linear"),
}
CASES = {f"torchvision.models:{name}": case for name, case in TORCHVISION.items()} | {
    f"monai.networks.nets:{name}": case for name, case in MONAI.items()
}


@pytest.fixture(autouse=True)
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADFAITH_TRUST_CODE", "1")


def make(module: str, size: int = 96, n_classes: int = 3, **options: Any) -> Classifier:
    spec = ClassifierSpec("", n_classes, 1, 3, size, 0.5, 0.25, options, module=module)
    return build_classifier(spec, seed=3)


def own(name: str, **options: Any) -> Classifier:
    return make(f"test_own_networks:{name}", 32, **options)


@pytest.mark.parametrize("module", CASES)
def test_the_layer_is_found_and_its_gradient_is_that_of_the_network(module: str) -> None:
    options, layer, head = CASES[module]
    if module.startswith("monai"):
        pytest.importorskip("monai", reason="the peers' package MONAI is not installed")
    options = options | ({"num_classes": 3} if module.startswith("torchvision") else {})
    classifier = make(module, **options).eval()
    assert default_layer(classifier.net) == layer
    assert head_names(classifier.net) == (head,)
    grid = probe(classifier, "auto")
    images, classes = noise(2, 96), torch.tensor([0, 2])
    before = state(classifier)
    with tap_layers(classifier, "auto") as tap:
        logits = tap.forward(images)
        found, layout = tap.single_tap(classes), tap.layout()
    assert state(classifier) == before
    assert layout.grid == grid == tuple(found.activation.shape[-2:])
    wanted, raw, gradient = slow_route(classifier, layer, images, classes)
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.activation, layout.to_grid(raw), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.gradient, layout.to_grid(gradient), rtol=1e-3, atol=1e-4)


def test_timm_s_networks_are_described_as_timm_describes_them() -> None:
    own_one = make("timm:create_model", model_name="resnet10t", num_classes=3)
    timms = build_classifier(ClassifierSpec("resnet10t", 3, 1, 3, 96, 0.5, 0.25), seed=3)
    assert default_layer(own_one.net) == default_layer(timms.net)
    assert layer_stack(own_one.net) == layer_stack(timms.net)
    for one, other in zip(own_one.parameters(), timms.parameters(), strict=True):
        assert torch.equal(one, other)  # the seed decides both alike


class Small(nn.Module):
    """A network whose layers, outputs and errors a test chooses."""

    def __init__(self, outputs: int = 3, *, answer: str = "logits", first: int = 3) -> None:
        super().__init__()
        self.answer = answer
        self.stem = nn.Sequential(nn.Conv2d(first, 8, 3, 2, 1), nn.ReLU(inplace=True))
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.head = nn.Linear(8, outputs)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Any:
        logits = self.head(self.body(self.stem(x)).mean((2, 3)))
        return {"logits": logits, "tuple": (logits, x), "map": x, "detached": logits.detach()}[self.answer]


class OnlyVectors(nn.Module):
    """A network without any grid."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


def no_network() -> int:
    return 3


def failing() -> nn.Module:
    raise OSError("no weights here")


def test_a_head_of_zeros_hides_no_layer_and_stays_zero() -> None:
    classifier = own("Small")
    assert default_layer(classifier.net) == "body"
    assert not classifier.net.get_submodule("head").weight.any()


def test_one_output_decides_between_two_classes() -> None:
    classifier = own("Small", n_classes=2, outputs=1).eval()
    with torch.no_grad():
        classifier.net.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        images = noise(4, 32)
        z = classifier.net((images.expand(-1, 3, -1, -1) - 0.5) / 0.25)
        torch.testing.assert_close(classifier(images).softmax(1)[:, 1], z[:, 0].sigmoid())
    assert read_logits(torch.tensor([[2.0]]), "softmax").tolist() == [[-1.0, 1.0]]
    assert examine_layer(classifier, "body", 2)[1] is None


def test_a_class_map_chooses_among_the_outputs() -> None:
    from gradfaith.models.checkpoint import spec_with_head_of_file

    spec = ClassifierSpec("", 2, 1, 3, 32, 0.5, 0.25, {"outputs": 5}, module="test_own_networks:Small")
    mapped = spec_with_head_of_file(spec, None, ((1,), (4, 0)), ("a", "b"))
    assert (mapped.classes, mapped.class_map) == (5, ((1,), (4, 0)))
    assert build_classifier(mapped)(noise(2, 32)).shape == (2, 2)
    with pytest.raises(ModelUnusable, match="has outputs 0 to 4"):
        spec_with_head_of_file(spec, None, ((1,), (5,)), ("a", "b"))


def test_weights_are_loaded_and_a_missing_one_is_refused(tmp_path) -> None:
    source = own("Small")
    with torch.no_grad():
        for parameter in source.net.parameters():
            parameter.add_(1)
    tensors = {name: value.clone() for name, value in source.net.state_dict().items()}
    save_file(tensors, tmp_path / "whole.safetensors")
    spec = source.spec
    loaded = build_classifier(spec, seed=0, weights=tmp_path / "whole.safetensors")
    for name, value in loaded.net.state_dict().items():
        assert torch.equal(value, tensors[name])
    save_file({n: v for n, v in tensors.items() if not n.startswith("head")}, tmp_path / "headless.safetensors")
    build_classifier(spec, seed=0, weights=tmp_path / "headless.safetensors")  # the head is trained anew
    save_file({n: v for n, v in tensors.items() if n != "body.0.weight"}, tmp_path / "less.safetensors")
    with pytest.raises(ModelUnusable, match=r"lacks weights of .*body\.0\.weight"):
        build_classifier(spec, seed=0, weights=tmp_path / "less.safetensors")


def test_the_backbone_can_be_frozen_and_the_network_randomised() -> None:
    classifier = own("Small")
    freeze_layers(classifier, "backbone")
    assert [name for name, p in classifier.net.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    steps = list(randomise_in_steps(own("Small"), ["top_down"], 2, seed=1))
    assert [step.step for step in steps] == [1, 2]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("Small", {"outputs": 4}, "has 4 output(s), but 3 are needed"),
        ("Small", {"answer": "tuple"}, "returns a tuple"),
        ("Small", {"answer": "map"}, "returns a tensor of (1, 3, 32, 32)"),
        ("Small", {"answer": "detached"}, "returns a tensor of (1, 3)"),
        ("Small", {"first": 1}, "cannot take an image of 3 x 32 x 32"),
        ("Small", {"depth": 4}, "TypeError"),
        ("no_network", {}, "returns a int"),
        ("failing", {}, "OSError: no weights here"),
    ],
)
def test_what_is_no_classifier_is_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(GradFaithError) as error:
        own(name, **options)
    assert said in error.value.problem


def test_a_network_without_a_grid_has_no_layer() -> None:
    classifier = own("OnlyVectors")
    with pytest.raises(LayerUnusable, match="has no default layer"):
        default_layer(classifier.net)


def test_the_stages_are_the_outermost_modules_of_each_resolution() -> None:
    assert layer_stack(make("torchvision.models:resnet18", num_classes=3).net) == (
        "layer1",
        "layer2",
        "layer3",
        "layer4",
    )


def test_a_card_of_a_timm_network_is_as_it_was() -> None:
    spec = ClassifierSpec("resnet10t", 3, 1, 3, 96, 0.5, 0.25)
    assert "module" not in spec.to_json()
    mine = ClassifierSpec("", 3, 1, 3, 96, 0.5, 0.25, module="a:b")
    assert ClassifierSpec.from_json(mine.to_json()) == mine
    assert timm.is_model("resnet10t")
