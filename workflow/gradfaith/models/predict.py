"""What a classifier answers, and how long it takes for one image.

The time per image is the paper's: batch 1, the median of the rounds after a warm-up, the device waited for. The image
is on the device already, so neither disk nor transfer is counted; name the device beside the number.
"""

import time

import torch
from torch import Tensor, nn


@torch.inference_mode()
def predict(classifier: nn.Module, images: Tensor, *, chunk: int, device: torch.device | str) -> Tensor:
    """Logits (n, classes) on the CPU of uint8 `images` (n, c, h, w), `chunk` images at a time."""
    classifier.eval()
    parts = [classifier(part.to(device).float() / 255) for part in torch.split(images, chunk)]
    return torch.cat(parts).float().cpu()


@torch.inference_mode()
def seconds_per_image(classifier: nn.Module, image: Tensor, *, rounds: int = 50, warmup: int = 5) -> float:
    """Median seconds of one forward of one uint8 `image` (c, h, w), on the device the image is on."""
    classifier.eval()
    batch = image.unsqueeze(0).float() / 255
    seconds = []
    for _ in range(warmup + rounds):
        started = time.perf_counter()
        classifier(batch)
        _wait(batch.device)
        seconds.append(time.perf_counter() - started)
    return float(torch.tensor(seconds[warmup:], dtype=torch.float64).quantile(0.5))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
