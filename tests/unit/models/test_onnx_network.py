"""The network of an ONNX file answers as the PyTorch network that was exported, and does what a black box can do."""

from pathlib import Path
from typing import Any

import pytest
import torch
from onnx_files import export, small_network
from small_networks import noise
from torch import Tensor, nn
from typed import typed_methods

from gradfaith import registry
from gradfaith.attribution import bound_method
from gradfaith.attribution.cell import MapCell, map_rows
from gradfaith.config import options
from gradfaith.config.method_uses import methods_of_answers
from gradfaith.errors import GradFaithError, MethodUndefined, MissingPackage, ModelUnusable
from gradfaith.models import checkpoint, own_network
from gradfaith.models.classifier import Classifier, ClassifierSpec, build_classifier
from gradfaith.models.randomise import randomise_in_steps

onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
pytest.importorskip("onnxruntime", reason="the package onnxruntime is not installed")

TOLERANCE = 1e-4
FEW = {
    "lime": {"segments": 6, "samples": 20},
    "kernel_shap": {"segments": 6, "samples": 20},
    "feature_ablation": {"segments": 6},
    "shapley_sampling": {"segments": 6, "orders": 2},
    "rise": {"masks": 30},
    "occlusion": {},
}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return small_network()


@pytest.fixture(scope="module")
def file(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(net, tmp_path_factory.mktemp("onnx") / "net.onnx")


def spec_of(path: Path, classes: int = 3, **more: Any) -> ClassifierSpec:
    return ClassifierSpec("", classes, 1, 3, 32, 0.5, 0.25, onnx=str(path), **more)


def read(path: Path, **more: Any) -> Classifier:
    return build_classifier(spec_of(path, **more), weights=path).eval()


def torch_s(net: nn.Module) -> Classifier:
    own_network.describe_network(net, "a:b", own_network.InputShape(3, 32))
    return Classifier(net, ClassifierSpec("", 3, 1, 3, 32, 0.5, 0.25, module="a:b")).eval()


@pytest.mark.parametrize("batch", [0, 1, 4])
def test_scores_are_those_of_pytorch_whatever_the_batch_of_the_export(
    net: nn.Module, tmp_path: Path, batch: int
) -> None:
    images = noise(7, 32)
    found = read(export(net, tmp_path / "net.onnx", batch=batch))(images)
    torch.testing.assert_close(found, torch_s(net)(images).detach(), atol=TOLERANCE, rtol=0)


def maps_of(classifier: Classifier, images: Tensor) -> dict[str, Tensor]:
    import pandas as pd

    names = [f"i{number}" for number in range(len(images))]
    pixels = (images * 255).round().to(torch.uint8)
    methods = {
        name: {"group": "methods", "use": name, "layer": "auto", "score": "logit", "shuffled": False,
               "options": options.complete("methods", name, FEW[name])}
        for name in methods_of_answers()
    }  # fmt: skip
    grid = {
        "group": "controls",
        "use": "random-grid",
        "layer": "auto",
        "score": "logit",
        "shuffled": False,
        "options": {},
    }
    table = map_rows(
        pd.DataFrame({"image_id": names, "label": ["a", "b", "c"], "predicted": ["a", "b", "a"]}), list("abc")
    )
    cell = MapCell(
        classifier, lambda ids: torch.stack([pixels[names.index(one)] for one in ids]).numpy(), table,
        bound_method.bind_methods(classifier, typed_methods(methods | {"random-grid": grid})),
        key=(0, "net", 1), copies=2, batch_limit=4,
    )  # fmt: skip
    found = dict[str, Tensor]()
    for chunk in cell.map_chunks():
        found[f"{chunk.label}-{chunk.start}"] = torch.from_numpy(chunk.maps)
    return found


def test_every_method_of_answers_gives_the_maps_of_pytorch(net: nn.Module, file: Path) -> None:
    assert set(methods_of_answers()) == set(FEW)
    images = noise(3, 32, seed=2)
    box, own = maps_of(read(file), images), maps_of(torch_s(net), images)
    assert set(box) == set(own)
    for name, maps in own.items():
        if not name.startswith("random-grid"):  # its grid is the layer's, which a black box has not
            assert maps.abs().max() > 0.05, name
            torch.testing.assert_close(
                box[name], maps, atol=TOLERANCE, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
            )
    assert box["random-grid-0"].isfinite().all()


def test_other_methods_are_refused_with_those_that_work(file: Path) -> None:
    classifier = read(file)
    for name in set(registry.names("methods")) - set(methods_of_answers()):
        settings = {"group": "methods", "use": name, "layer": "auto", "score": "logit", "shuffled": False,
                    "options": options.complete("methods", name, {})}  # fmt: skip
        with pytest.raises(MethodUndefined) as refused:
            bound_method.probe_methods(classifier, typed_methods({name: settings}))
        assert "occlusion, rise, shapley_sampling" in refused.value.fix


def test_a_model_has_its_file_in_its_weights(net: nn.Module, file: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, read(file), {"arch": "net"})
    loaded = checkpoint.load(tmp_path / checkpoint.WEIGHTS, tmp_path / checkpoint.CARD)
    images = noise(3, 32)
    assert loaded.spec == spec_of(file)
    assert torch.equal(loaded(images), read(file)(images))
    assert loaded.net.file.numpy().tobytes() == file.read_bytes()


def test_its_outputs_can_be_mapped(net: nn.Module, file: Path) -> None:
    spec = checkpoint.spec_with_head_of_file(spec_of(file, classes=2), file, ((2,), (0, 1)), ("a", "b"))
    z = torch_s(net)(noise(3, 32)).detach()
    wanted = torch.stack([z[:, 2], z[:, :2].logsumexp(1)], dim=1)
    torch.testing.assert_close(build_classifier(spec, weights=file)(noise(3, 32)), wanted, atol=TOLERANCE, rtol=0)
    with pytest.raises(ModelUnusable, match="has outputs 0 to 2"):
        checkpoint.spec_with_head_of_file(spec_of(file, classes=2), file, ((3,), (0,)), ("a", "b"))


def test_a_softmax_in_the_file_is_told_from_logits(net: nn.Module, tmp_path: Path) -> None:
    path = export(nn.Sequential(net, nn.Softmax(1)), tmp_path / "net.onnx")
    with pytest.raises(ModelUnusable, match="probabilities, not logits"):
        read(path)
    found = read(path, head="probabilities")(noise(3, 32)).softmax(1)
    torch.testing.assert_close(found, torch_s(net)(noise(3, 32)).detach().softmax(1), atol=1e-5, rtol=0)


def refused(path: Path, **more: Any) -> GradFaithError:
    with pytest.raises(ModelUnusable) as error:
        read(path, **more)
    return error.value


def test_files_that_are_no_complete_network_are_refused(net: nn.Module, file: Path, tmp_path: Path) -> None:
    assert "has 3 output(s), but 2 are needed" in refused(file, classes=2).problem
    assert "cannot be read: No such file" in refused(tmp_path / "no.onnx").problem
    (tmp_path / "text.onnx").write_text("no network")
    assert "onnxruntime cannot open it" in refused(tmp_path / "text.onnx").problem
    path = tmp_path / "apart.onnx"
    onnx.save(onnx.load(file), path, save_as_external_data=True, size_threshold=0, location="apart.data")
    assert "external_data=False" in refused(path).fix


class TwoOutputs(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images.mean(dim=(2, 3)), self.net(images)


def test_of_several_outputs_the_study_names_one(net: nn.Module, tmp_path: Path) -> None:
    path = export(TwoOutputs(net), tmp_path / "two.onnx", output_names=["mean", "logits"])
    error = refused(path)
    assert "its outputs are mean, logits" in error.problem
    assert "options: {output: NAME}" in error.fix
    assert 'no output "logit"' in refused(path, options={"output": "logit"}).problem
    found = read(path, options={"output": "logits"})(noise(2, 32))
    torch.testing.assert_close(found, torch_s(net)(noise(2, 32)).detach(), atol=TOLERANCE, rtol=0)


def test_its_weights_cannot_be_randomised(file: Path) -> None:
    with pytest.raises(ModelUnusable, match="cannot be randomised"):
        next(randomise_in_steps(read(file), ["top_down"], 2, seed=0))


def test_without_the_package_the_error_names_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackage, match="onnxruntime"):
        read(file)


class OwnBox(nn.Module):
    """A network of the user's own whose outputs have no gradient."""

    black_box = True

    def forward(self, images: Tensor) -> Tensor:
        return images.detach().mean(dim=(2, 3))


def test_a_network_of_one_s_own_can_be_a_black_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADFAITH_TRUST_CODE", "1")
    spec = ClassifierSpec("", 3, 1, 3, 32, 0.5, 0.25, module="test_onnx_network:OwnBox")
    classifier = build_classifier(spec)
    assert classifier(noise(2, 32)).shape == (2, 3)
    settings = {
        "group": "methods",
        "use": "gradcam",
        "layer": "auto",
        "score": "logit",
        "shuffled": False,
        "options": {},
    }
    with pytest.raises(MethodUndefined, match="needs gradients or layers"):
        bound_method.probe_methods(classifier, typed_methods({"gradcam": settings}))
    bound_method.probe_methods(classifier, typed_methods({"rise": settings | {"use": "rise"}}))
