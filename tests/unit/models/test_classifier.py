"""A classifier is what its specification says: same seed, same weights; stated normalisation; nothing half-loaded."""

import json
import re
import subprocess
import sys
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from gradfaith.errors import LayerUnusable, ModelUnusable
from gradfaith.models import layers
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.models.timm_import import timm


def spec(name: str = "resnet10t", **changes: Any) -> ClassifierSpec:
    given: dict[str, Any] = {"classes": 3, "channels": 1, "in_chans": 3, "size": 64, "mean": 0.5, "std": 0.25}
    return ClassifierSpec(name, **{**given, **changes})


def pretrained(path: Path, name: str = "resnet10t", **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(7)
    state: dict[str, Tensor] = timm.create_model(name, **options).state_dict()
    save_file(state, path)
    return state


def test_the_same_seed_gives_the_same_bits_and_touches_no_global_state() -> None:
    before = torch.random.get_rng_state()
    one, two, other = (build_classifier(spec(), seed=seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["net.conv1.0.weight"], other["net.conv1.0.weight"])


def test_one_channel_is_normalised_and_repeated() -> None:
    classifier = build_classifier(spec()).eval()
    images = torch.rand(2, 1, 64, 64)
    assert_close(classifier(images), classifier.net(((images - 0.5) / 0.25).repeat(1, 3, 1, 1)))


def test_one_channel_stays_one_where_the_network_has_one() -> None:
    classifier = build_classifier(spec(in_chans=1)).eval()
    images = torch.rand(2, 1, 64, 64)
    assert_close(classifier(images), classifier.net((images - 0.5) / 0.25))


def test_colours_have_their_own_mean() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    classifier = build_classifier(spec(channels=3, mean=mean, std=std)).eval()
    images = torch.rand(1, 3, 64, 64)
    planes = [(images[:, k] - mean[k]) / std[k] for k in range(3)]
    assert_close(classifier(images), classifier.net(torch.stack(planes, dim=1)))


def test_a_card_can_carry_the_specification() -> None:
    for one in (spec(options={"drop_rate": 0.1}), spec(channels=3, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.2))):
        assert ClassifierSpec.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_networks_of_one_size_are_built_for_the_studys() -> None:
    classifier = build_classifier(spec("vit_tiny_patch16_224", options={"depth": 1}))
    assert classifier(torch.rand(1, 1, 64, 64)).shape == (1, 3)


def test_an_unknown_architecture_is_refused_with_close_ones() -> None:
    with pytest.raises(ModelUnusable, match="resnet50") as refusal:
        build_classifier(spec("resnet_50"))
    assert refusal.value.problem.endswith('no architecture named "resnet_50".')


def test_what_timm_refuses_is_refused_with_its_reason() -> None:
    with pytest.raises(ModelUnusable, match="unexpected keyword argument 'dropp_rate'"):
        build_classifier(spec(options={"dropp_rate": 0.1}))


def test_colour_images_and_a_one_channel_network_do_not_meet() -> None:
    with pytest.raises(ModelUnusable, match="the images have 3"):
        build_classifier(spec(channels=3, in_chans=1))


def test_pretrained_weights_come_under_a_new_head_and_a_summed_first_convolution(tmp_path: Path) -> None:
    state = pretrained(tmp_path / "w.safetensors")
    random, loaded = (
        build_classifier(spec(in_chans=1), seed=2),
        build_classifier(spec(in_chans=1), seed=2, weights=tmp_path / "w.safetensors"),
    )
    first = "conv1.0.weight"
    assert_close(loaded.net.state_dict()[first], state[first].sum(dim=1, keepdim=True))
    for name, value in loaded.net.state_dict().items():
        if name.startswith("fc."):
            assert torch.equal(value, random.net.state_dict()[name]), "the head is the seed's own"
        elif name != first:
            assert torch.equal(value, state[name])


def test_weights_of_a_one_channel_network_load_into_another(tmp_path: Path) -> None:
    state = pretrained(tmp_path / "w.safetensors", in_chans=1, num_classes=3)
    loaded = build_classifier(spec(in_chans=1), weights=tmp_path / "w.safetensors").net.state_dict()
    assert torch.equal(loaded["conv1.0.weight"], state["conv1.0.weight"])
    assert not torch.equal(loaded["fc.weight"], state["fc.weight"]), "a head of as many classes is still another's"


def test_position_embeddings_follow_the_image_size(tmp_path: Path) -> None:
    state = pretrained(tmp_path / "w.safetensors", "vit_tiny_patch16_224", depth=1, img_size=224)
    loaded = build_classifier(spec("vit_tiny_patch16_224", options={"depth": 1}), weights=tmp_path / "w.safetensors")
    assert loaded.net.state_dict()["pos_embed"].shape == (1, 17, 192)
    assert torch.equal(loaded.net.state_dict()["pos_embed"][:, 0], state["pos_embed"][:, 0])


def test_weights_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    state = pretrained(tmp_path / "w.safetensors")
    save_file(
        {name: value for name, value in state.items() if not name.startswith("layer3")}, tmp_path / "w.safetensors"
    )
    with pytest.raises(ModelUnusable, match=r"lacks weights of the network: layer3\.0\.conv1\.weight, "):
        build_classifier(spec(), weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("running_mean", "conv1.1.running_mean"), ("running_var", "bn1.running_var"), ("bias", "layer2.0.bn1.bias")],
)
def test_weights_that_lack_statistics_or_biases_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    """They begin as zeros and ones in every network, so that none looks random."""
    state = pretrained(tmp_path / "w.safetensors")
    assert name in state
    lacking = "bn1.bias" if kind == "bias" else kind
    save_file({n: v for n, v in state.items() if not n.endswith(lacking)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelUnusable, match=rf"lacks weights of the network: .*\.{kind}"):
        build_classifier(spec(), weights=tmp_path / "w.safetensors")


def test_a_counter_of_batches_may_be_missing(tmp_path: Path) -> None:
    state = pretrained(tmp_path / "w.safetensors")
    save_file({n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}, tmp_path / "w.safetensors")
    found = build_classifier(spec(), weights=tmp_path / "w.safetensors").net.state_dict()
    torch.testing.assert_close(found["bn1.running_var"], state["bn1.running_var"])


def test_a_transformer_without_its_zero_biases_is_refused(tmp_path: Path) -> None:
    state = pretrained(tmp_path / "w.safetensors", "vit_tiny_patch16_224", depth=1, img_size=64)
    vit = spec("vit_tiny_patch16_224", options={"depth": 1})
    build_classifier(vit, weights=tmp_path / "w.safetensors")
    save_file({n: v for n, v in state.items() if n != "blocks.0.attn.qkv.bias"}, tmp_path / "w.safetensors")
    with pytest.raises(ModelUnusable, match=r"lacks weights of the network: blocks\.0\.attn\.qkv\.bias\."):
        build_classifier(vit, weights=tmp_path / "w.safetensors")


PUBLISHED = {  # timm's names of a ConvNeXt, and those of the file that its authors gave out
    r"^stem\.": "downsample_layers.0.",
    r"^stages\.(\d+)\.downsample\.": r"downsample_layers.\1.",
    r"^stages\.(\d+)\.blocks\.": r"stages.\1.",
    "conv_dw": "dwconv",
    r"mlp\.fc": "pwconv",
    r"^head\.norm\.": "norm.",
    r"^head\.fc\.": "head.",
}


def test_names_that_timm_translates_are_no_fault(tmp_path: Path) -> None:
    state = pretrained(tmp_path / "w.safetensors", "convnext_atto")

    def translated(name: str) -> str:
        return reduce(lambda so_far, names: re.sub(*names, so_far), PUBLISHED.items(), name)

    published = {translated(name): value for name, value in state.items()}
    assert "stages.0.0.dwconv.weight" in published
    save_file(published, tmp_path / "w.safetensors")
    loaded = build_classifier(spec("convnext_atto"), weights=tmp_path / "w.safetensors").net.state_dict()
    assert torch.equal(loaded["stages.0.blocks.0.conv_dw.weight"], state["stages.0.blocks.0.conv_dw.weight"])
    save_file({n: v for n, v in published.items() if n != "norm.bias"}, tmp_path / "w.safetensors")
    with pytest.raises(ModelUnusable, match=r"lacks weights of the network: head\.norm\.bias"):
        build_classifier(spec("convnext_atto"), weights=tmp_path / "w.safetensors")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    pretrained(tmp_path / "w.safetensors", "convnext_atto")
    with pytest.raises(ModelUnusable):
        build_classifier(spec(), weights=tmp_path / "w.safetensors")


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelUnusable, match="cannot be read as weights"):
        build_classifier(spec(), weights=tmp_path / "w.safetensors")


def test_every_family_in_the_table_is_one_of_timms() -> None:
    modules = {timm.model_entrypoint(name).__module__.rpartition(".")[2] for name in timm.list_models()}
    assert set(layers.DEFAULT_LAYERS) <= modules


def test_a_layer_that_is_not_there_is_refused_with_close_ones() -> None:
    with pytest.raises(LayerUnusable, match="Did you mean layer4"):
        layers.resolve_layer(build_classifier(spec()).net, "layer_4")


def test_paths_count_from_the_end() -> None:
    net = build_classifier(spec()).net
    assert layers.resolve_layer(net, "layer4.-1.conv2") == "layer4.0.conv2"
    assert layers.resolve_layer(net, "layer4.0") == "layer4.0"


def test_importing_timm_leaves_no_stand_in_for_the_compiler_behind() -> None:
    """In a fresh process: no stand-in stays behind, and what loads torch's compiler later gets the real one."""
    lines = [
        "import sys",
        "from gradfaith.models.timm_import import timm",
        "assert 'torch._dynamo' not in sys.modules",
        "import torch, torchvision.transforms.v2",
        "assert torch._dynamo.is_compiling() is False and torch._dynamo.__file__",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
