"""Export small networks as ONNX files."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn


def small_network(outputs: int = 3) -> nn.Sequential:
    """A small convolutional network of three channels, with weights that are not the first ones."""
    torch.manual_seed(5)
    net = nn.Sequential()
    net.body = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU()
    )
    net.pool, net.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(12, outputs)
    net.train()(torch.rand(16, 3, 32, 32) * 3)  # statistics of the batch norm
    with torch.no_grad():
        net.head.weight.mul_(20)
    return net.eval()


def export(net: nn.Module, path: Path, size: int = 32, batch: int = 0, **more: Any) -> Path:
    """Write the network to a file; `batch`: the number of images that it is exported for, 0 for any."""
    axes = {} if batch else {"dynamic_axes": {"images": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends its new exporter, which needs more packages
        torch.onnx.export(
            net,
            (torch.rand(batch or 2, 3, size, size),),
            str(path),
            dynamo=False,
            input_names=["images"],
            **axes,
            **more,
        )
    return path
