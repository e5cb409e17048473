"""A faster classifier answers the same up to its rounding, keeps its layers where they were, and says so in single precision."""

import copy

import pytest
import torch
from single import SinglePrecisionTensor, to_single_precision
from torch import Tensor, nn

from gradfaith.attribution.methods import gradcam
from gradfaith.attribution.taps import tap_layers
from gradfaith.config.sections import Passes
from gradfaith.errors import ModelUnusable
from gradfaith.models import layers, speed
from gradfaith.models.classifier import Classifier, ClassifierSpec, PassesUsed, build_classifier

PLAIN = Passes(precision="float32", channels_last=False, fold_batch_norm=False)
AUTO = Passes(precision="float32")
IMAGES = torch.rand(3, 1, 96, 96, generator=torch.Generator().manual_seed(0))
NETWORKS = {
    "resnet10t": {},
    "densenet121": {"growth_rate": 8, "block_config": [2, 2, 2]},
    "test_efficientnet": {},
    "levit_conv_128s": {"embed_dim": [32, 48], "num_heads": [2, 2], "depth": [1, 1], "key_dim": 8},
    "vit_tiny_patch16_224": {"depth": 2, "embed_dim": 48, "num_heads": 2},
}


def trained(name: str) -> Classifier:
    """Batch norms with statistics and gains of their own."""
    classifier = build_classifier(ClassifierSpec(name, 3, 1, 3, 96, 0.5, 0.25, NETWORKS[name]), seed=1)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for module in classifier.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.3, generator=generator)
        for _ in range(3):
            classifier.train()(torch.rand(8, 1, 96, 96, generator=generator))
    return classifier.eval()


def passes(**changes: object) -> Passes:
    return PLAIN.model_copy(update=changes)


def map_of(classifier: Classifier) -> Tensor:
    with tap_layers(classifier, layers.default_layer(classifier.net)) as tap:
        tap.forward(IMAGES)
        return gradcam.attribute(tap.single_tap(torch.tensor([0, 1, 2])))


def norms(classifier: Classifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())


def test_asked_for_nothing_it_is_the_same_object_untouched() -> None:
    classifier = trained("resnet10t")
    before = copy.deepcopy(classifier.state_dict())
    assert speed.prepare_for_speed(classifier, PLAIN) is classifier
    assert classifier.passes == PassesUsed()
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not classifier.net._forward_hooks


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({"fold_batch_norm": True}, 1e-5),
        ({"channels_last": True}, 1e-5),
        ({"precision": "bf16"}, 0.06),
        ({"precision": "bf16", "channels_last": True, "fold_batch_norm": True}, 0.06),
    ],
)
def test_answers_and_maps_are_the_same_up_to_rounding(name: str, changes: dict[str, object], share: float) -> None:
    classifier = trained(name)
    weights = copy.deepcopy(classifier.state_dict())
    quick = speed.prepare_for_speed(classifier, passes(**changes))
    assert quick is not classifier
    assert quick.passes == PassesUsed(**changes)  # type: ignore[arg-type]
    assert all(torch.equal(value, weights[key]) for key, value in classifier.state_dict().items()), "it is a copy"
    with torch.no_grad():
        before, after = classifier(IMAGES), quick(IMAGES)
    assert after.dtype == torch.float32
    assert (after - before).abs().max() <= share * before.abs().max()
    own, quicker = map_of(classifier), map_of(quick)
    assert quicker.dtype == torch.float32
    assert own.amax() > 0
    assert (quicker - own).abs().max() <= 2 * share * own.abs().max()
    assert layers.default_layer(quick.net) == layers.default_layer(classifier.net)
    if "precision" in changes:
        assert {parameter.dtype for parameter in quick.net.parameters()} == {torch.bfloat16}
        assert (after - before).abs().max() > 0, "it really computes in bfloat16"


@pytest.mark.parametrize("name", ["resnet10t", "test_efficientnet", "levit_conv_128s"])
def test_folding_leaves_no_norm_behind_a_convolution(name: str) -> None:
    classifier = trained(name)
    before = norms(classifier)
    assert before > 3
    folded = speed.prepare_for_speed(classifier, passes(fold_batch_norm=True))
    assert norms(folded) <= (1 if "levit" in name else 0)


@pytest.mark.parametrize("layer", ["conv1.0", "bn1", "layer1.0.conv1", "layer1.0.bn1", "layer2"])
def test_a_tapped_layer_has_the_output_that_it_had(layer: str) -> None:
    """A convolution that is read keeps its output; what stands behind a folded norm's name returns the norm's."""
    classifier = trained("resnet10t")
    folded = speed.prepare_for_speed(classifier, passes(fold_batch_norm=True), [layer])
    assert norms(folded) < norms(classifier)
    found = []
    for network in (classifier, folded):
        with tap_layers(network, layer) as tap:
            tap.forward(IMAGES)
            tapped = tap.single_tap(torch.tensor([0, 1, 2]))
            found.append((tapped.activation, tapped.gradient))
    for before, after in zip(*found, strict=True):
        assert (after - before).abs().max() <= 1e-5 * before.abs().max()


def test_auto_goes_by_the_table_and_not_by_the_clock() -> None:
    """A module and kind of device that are in it get both; others are the object that was given."""
    assert {"resnet", "densenet", "efficientnet", "mobilenetv3"} <= speed.CHANNELS_LAST["cpu"] & speed.FOLDED["cpu"]
    assert speed.prepare_for_speed(trained("resnet10t"), AUTO).passes == PassesUsed("float32", True, True)
    transformer = trained("vit_tiny_patch16_224")
    assert speed.prepare_for_speed(transformer, AUTO) is transformer


def test_a_study_that_says_no_is_obeyed() -> None:
    classifier = trained("resnet10t")
    used = speed.prepare_for_speed(classifier, AUTO.model_copy(update={"fold_batch_norm": False})).passes
    assert used == PassesUsed("float32", True, False)


class Shared(nn.Module):
    """What the norm reads is also read by another: folding would change what the other gets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.norm.running_mean.fill_(2.0)  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return (self.norm(x) + 3 * x).mean(dim=(2, 3))


def shared() -> Classifier:
    return Classifier(Shared(), ClassifierSpec("shared", 3, 1, 1, 32, 0.0, 1.0)).eval()


def test_a_norm_that_cannot_be_folded_is_refused_where_a_study_asks_for_it() -> None:
    with pytest.raises(ModelUnusable, match="the logits of shared change by up to") as refusal:
        speed.prepare_for_speed(shared(), passes(fold_batch_norm=True))
    assert "inference.fold_batch_norm" in refusal.value.fix


def test_where_the_table_is_wrong_about_a_network_its_passes_are_plain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = shared()
    monkeypatch.setattr(speed, "FOLDED", {"cpu": frozenset([__name__.rpartition(".")[2]])})
    plain = speed.prepare_for_job(classifier, AUTO)
    assert (plain.net, plain.passes.fold_batch_norm) == (classifier.net, False)
    assert "passes: float32 (float32, folded batch norms would change logits by" in capsys.readouterr().out


def test_folding_asks_no_double_precision_of_the_device() -> None:
    """The sums are done on the CPU, in double precision all the same."""
    images, plain = torch.rand(2, 1, 9, 9), nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)).eval()
    plain[1].running_mean.uniform_()  # type: ignore[union-attr, operator]
    with torch.no_grad():
        before = plain(images)
        conv, norm = to_single_precision(copy.deepcopy(plain))
        with pytest.raises(TypeError, match="no float64"):
            norm.weight.double()
        speed._fold_into_convolution(conv, norm)
        assert isinstance(conv.weight, SinglePrecisionTensor)
        torch.testing.assert_close(conv(images.as_subclass(SinglePrecisionTensor)).cpu(), before)
