"""What a classifier answers, and how long it takes for one image.

The time per image is the paper's: batch 1, the median of the rounds after a warm-up, the device waited for. The image
is on the device already, so neither disk nor transfer is counted; name the device beside the number.
"""

import time
from typing import Protocol

import torch
from torch import Tensor, nn

from gradfaith.device import Chunk, Most, settle


class Rows(Protocol):
    """Images by slices: a tensor, or the rows of a store that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, some: slice, /) -> Tensor: ...


@torch.inference_mode()
def predict(classifier: nn.Module, images: Rows, *, chunk: Most, device: torch.device) -> Tensor:
    """Logits (n, classes) on the CPU of uint8 `images` (n, c, h, w), `chunk` images at a time."""
    classifier.eval()
    pieces = Chunk(chunk, device).pieces(
        len(images), lambda some: classifier(images[some].to(device).float() / 255).float().cpu()
    )
    return torch.cat([logits for _, logits in pieces])


@torch.inference_mode()
def seconds_per_image(classifier: nn.Module, image: Tensor, *, rounds: int = 50, warmup: int = 5) -> float:
    """Median seconds of one forward of one uint8 `image` (c, h, w), on the device the image is on."""
    classifier.eval()
    batch = image.unsqueeze(0).float() / 255
    seconds = []
    for _ in range(warmup + rounds):
        started = time.perf_counter()
        classifier(batch)
        settle(batch.device)
        seconds.append(time.perf_counter() - started)
    return float(torch.tensor(seconds[warmup:], dtype=torch.float64).quantile(0.5))
