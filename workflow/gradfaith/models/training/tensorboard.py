"""Epochs for TensorBoard, where the study asks for it: one scalar per column of the history.

The package is no dependency: it is imported when the first epoch is shown, and a study that asks for it where it is not
installed is refused as it is read. A training that goes on writes over what came after its state.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradfaith.models.training.training_run import EpochRow


class Board:
    """The event file of one training."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def show(self, row: EpochRow) -> None:
        writer = self._open(row.epoch)
        values = asdict(row)
        epoch = values.pop("epoch")
        for name, value in values.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def _open(self, epoch: int) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=epoch)
        return self._writer
