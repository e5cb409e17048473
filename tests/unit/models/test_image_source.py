"""Images on the device or read as needed: the same pixels, the same weights, and no more in memory than was said."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from test_train_job import CLASSES, CPU, SETTINGS, fine, known

from gradfaith.config.job_settings import TrainSettings
from gradfaith.models import predict
from gradfaith.models.classifier import ClassifierSpec, build_classifier
from gradfaith.models.training import image_source, train_job
from gradfaith.models.training.image_source import ImagesOnDevice, PackedImages, StreamedImages, open_image_source
from gradfaith.storage.hdf5 import ImageStore

RECIPE = {"epochs": 2, "batch": 4, "lr": 4e-3, "mixup": 0.3}


@pytest.fixture(scope="module")
def images(images_file: Path) -> Iterator[ImageStore]:
    with ImageStore(images_file) as opened_images:
        yield opened_images


def test_both_give_the_same_batches_in_the_order_asked_for(images: ImageStore) -> None:
    ids = [*images.ids[10:], *images.ids[:10]]
    draw = torch.Generator().manual_seed(1)
    indices = [*torch.randperm(24, generator=draw).split(5), torch.tensor([3, 3, 0])]
    resident, streamed = (open_image_source(PackedImages(images, ids), how, CPU) for how in ("device", "stream"))
    assert isinstance(resident, ImagesOnDevice)
    assert isinstance(streamed, StreamedImages)
    for index, one, other in zip(indices, resident.batches(indices), streamed.batches(indices), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, torch.from_numpy(images.pixels([ids[place] for place in index])))
        assert one.dtype == torch.uint8


def test_the_weights_are_the_same_to_the_bit(images: ImageStore, predictions: pd.DataFrame) -> None:
    def trained(how: str) -> train_job.TrainedClassifier:
        settings = TrainSettings(**SETTINGS | {"recipe": RECIPE})
        words = {"probe": fine, "seed": 1, "weights": None, "device": CPU}
        return train_job.train_model(
            settings, images, known(predictions), machine=train_job.MachineSettings(how), **words
        )  # type: ignore[arg-type]

    one, other = (trained(how) for how in ("device", "stream"))
    states = [model.classifier.state_dict() for model in (one, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert [row.val_loss for row in one.history] == [row.val_loss for row in other.history]


@pytest.mark.parametrize(
    ("most", "kind"),
    [(None, ImagesOnDevice), (10**9, ImagesOnDevice), (2 * 24 * 32 * 32, ImagesOnDevice), (49_000, StreamedImages)],
)
def test_a_pack_of_more_than_half_of_what_is_free_is_streamed(
    images: ImageStore, most: int | None, kind: type, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(open_image_source(PackedImages(images, images.ids), "auto", CPU, most), kind)
    assert ("are read as they are needed" in capsys.readouterr().out) == (kind is StreamedImages)
    assert image_source.free_memory(CPU, most) <= (most or 1 << 60)


def test_a_stream_reads_a_little_ahead_and_no_more() -> None:
    read: list[int] = []
    ready = threading.Event()

    def source(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        read.append(int(rows[0]))
        if len(read) == image_source.BATCHES_READ_AHEAD + 1:
            ready.set()
        return np.full((len(rows), 1, 2, 2), rows[0], dtype=np.uint8)

    indices = [torch.tensor([number]) for number in range(20)]
    stream = StreamedImages(source, CPU).batches(indices)
    assert int(next(stream)[0, 0, 0, 0]) == 0
    assert ready.wait(10)
    assert read == list(range(image_source.BATCHES_READ_AHEAD + 1)), "that of now, and those ahead"
    assert [int(batch[0, 0, 0, 0]) for batch in stream] == list(range(1, 20))


def test_what_goes_wrong_in_the_reader_is_raised_where_the_batch_is_used() -> None:
    def source(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        raise OSError(f"row {rows[0]}")

    with pytest.raises(OSError, match="row 4"):
        next(StreamedImages(source, CPU).batches([torch.tensor([4])]))


def test_predictions_read_the_store_piece_by_piece(
    images: ImageStore, predictions: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build_classifier(
        ClassifierSpec("test_resnet.r160_in1k", 3, 1, 1, 32, 0.3, 0.2, {"output_stride": 8}), seed=3
    ).eval()
    asked: list[int] = []
    slices = PackedImages.__getitem__

    def counted(self: PackedImages, some: slice) -> torch.Tensor:
        found = slices(self, some)
        asked.append(len(found))
        return found

    monkeypatch.setattr(PackedImages, "__getitem__", counted)
    found = predict.prediction_table(model, images, known(predictions), CLASSES, chunk=7)
    assert asked == [7, 7, 7, 3, 1], "chunks, and the one image that is timed"
    whole = model(torch.from_numpy(images.pixels(list(predictions["image_id"]))).float() / 255).detach().numpy()
    np.testing.assert_allclose(found[[f"logit_{name}" for name in CLASSES]], whole, atol=1e-5)
