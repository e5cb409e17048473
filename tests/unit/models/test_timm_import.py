"""A job imports the one file of timm that its network needs, and gets the network that all of timm would give."""

import subprocess
import sys

import pytest
from timm.models import _registry

from gradfaith.models.timm_import import registering_files, timm

ONE_NETWORK = """
import sys, torch
from gradfaith.models.timm_import import timm
names = lambda start: {name for name in sys.modules if name.startswith(start)}
assert not names("timm.") - {"timm.version"}, "importing our module imports nothing of timm"

def build():
    torch.manual_seed(0)
    return timm.create_model("resnet10t", num_classes=3, in_chans=1)

assert timm.is_model("resnet10t") and timm.get_pretrained_cfg("resnet10t").input_size[0] == 3
first = build()
files = {name.split(".")[2] for name in names("timm.models.")}
assert {name for name in files if not name.startswith("_")} == {"resnet"}, files
assert not names("timm.data.") - {"timm.data.constants"}
assert not names("torchvision.transforms") | names("torchvision.datasets") | names("torch._dynamo")
"""
THE_REST = """
assert len(timm.list_models()) > 1000
import timm as whole, torchvision
assert whole.models.list_modules and whole.data.create_transform and torchvision.transforms.Resize
second = whole.create_model
torch.manual_seed(0)
second = second("resnet10t", num_classes=3, in_chans=1)
assert type(second) is type(first)
assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))
assert "torch._dynamo" not in sys.modules or sys.modules["torch._dynamo"].__file__
"""


def run(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_network_needs_one_file_and_the_rest_can_follow() -> None:
    run(ONE_NETWORK + THE_REST)


def test_every_architecture_is_found_in_the_file_that_registers_it() -> None:
    assert timm.is_model("no network of timm") is False  # which imports all of timm
    registered = {name: _registry._model_to_module[name] for name in timm.list_models()}
    assert len(registered) > 1000
    assert registering_files() == registered


@pytest.mark.parametrize("name", ["resnet10t", "resnet18.a1_in1k", "tv_resnet34", "resnet_of_nobody"])
def test_names_are_known_as_timm_knows_them(name: str) -> None:
    whole = timm.models  # all of timm
    assert timm.is_model(name) == whole.is_model(name)
    assert timm.is_model_pretrained(name) == whole.is_model_pretrained(name)
    if whole.is_model(name):
        assert timm.get_pretrained_cfg(name) == whole.get_pretrained_cfg(name)
