"""A real training of seconds in a process of its own, which may be told to die as it writes.

Everything that has a state is in it: dropout, augmentation, blending, an average, pieces, weights for classes and groups.
Processes are forked from a server that has imported torch already, so that one costs a tenth of a second and not four.
"""

import csv
import json
import multiprocessing
import os
import random
import signal
import sys
import traceback
from dataclasses import asdict
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # AdamW imports it at its first step: here once, in the server
from safetensors import safe_open
from torch import Generator

from gradfaith.config.sections import Recipe
from gradfaith.errors import GradFaithError
from gradfaith.models import checkpoint
from gradfaith.models.classifier import ClassifierSpec
from gradfaith.models.training.checkpoints import CheckpointKeeper
from gradfaith.models.training.image_source import ImagesOnDevice
from gradfaith.models.training.loop import train

SPEC = ClassifierSpec(
    "test_resnet",
    3,
    1,
    1,
    32,
    0.4,
    0.25,
    {"drop_rate": 0.2, "layers": [1, 1, 1, 1], "channels": [8, 8, 8, 16], "stem_width": 8},
)
RECIPE = Recipe(
    epochs=8,
    batch=8,
    lr=4e-3,
    class_weights=True,
    group_weights=True,
    mixup=0.4,
    ema=0.9,
    accumulate=2,
    precision="bf16",
)
WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
EVERY = 0.1  # seconds between states: some epochs have two


def work(folder: Path, die: tuple[str, int] | None = None) -> None:
    """Train into `folder` as the rule's script does; `die` names a moment of the n-th state that is written: it is the last."""
    sys.stdout = sys.stderr = (folder / "log").open("a", buffering=1)
    if die:
        _die(*die)
    draw = Generator().manual_seed(5)
    pixels = ImagesOnDevice(torch.randint(0, 256, (56, 1, 32, 32), dtype=torch.uint8, generator=draw))
    labels, parts = torch.arange(56) % 3, {"train": torch.arange(40), "val": torch.arange(40, 56)}
    decides = {"spec": SPEC.to_json(), "recipe": RECIPE.to_dict()}
    try:
        with CheckpointKeeper(folder / "progress", decides, every=EVERY) as keeper:
            trained = train(SPEC, RECIPE, pixels, labels, parts, seed=3, groups=torch.arange(56) // 4, keeper=keeper)
            with (folder / "history.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(asdict(trained.history[0])))
                writer.writeheader()
                writer.writerows(asdict(row) for row in trained.history)
            checkpoint.save(folder, trained.classifier, {"best_epoch": trained.best_epoch})
            keeper.drop_all_but_last_state()
    except GradFaithError as refusal:
        sys.stdout.write(f"{refusal}\n")
        os._exit(1)
    except BaseException:
        traceback.print_exc()
        os._exit(2)


def _die(moment: str, number: int) -> None:
    """From here on the n-th file is the last: half of it is written, or all of it and it has no name yet, or it has just got one."""
    rename, write, seen = os.replace, Path.write_bytes, {"write": 0, "rename": 0}

    def replace(source: Any, target: Any) -> None:
        seen["rename"] += 1
        if moment == "before rename" and seen["rename"] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        if moment == "after rename" and seen["rename"] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def write_bytes(path: Path, data: bytes) -> int:
        seen["write"] += 1
        if moment == "in write" and seen["write"] == number:
            write(path, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write(path, data)

    os.replace, Path.write_bytes = replace, write_bytes  # type: ignore[assignment, method-assign]


def start(folder: Path, die: tuple[str, int] | None = None) -> ForkServerProcess:
    """A process that trains."""
    folder.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=work, args=(folder, die))
    process.start()
    return process


def kept(folder: Path) -> dict[str, Any]:
    """What the newest state says of itself; nothing where there is none."""
    states = sorted((folder / "progress").glob("state-*.safetensors"))
    if not states:
        return {"history": [], "step": 0}
    with safe_open(states[-1], framework="pt") as file:
        return dict(json.loads(file.metadata()["gradfaith"])["notes"])


def kill(process: ForkServerProcess, draw: random.Random) -> bool:
    """Wait a moment that is drawn and send a signal that is drawn; whether the process was still there."""
    process.join(draw.uniform(0.05, 0.8))
    alive = process.is_alive()
    if alive and process.pid is not None:
        os.kill(process.pid, draw.choice((signal.SIGKILL, *WARNINGS)))
    process.join(30)
    assert not process.is_alive()
    return alive
