"""What methods of a cell share: seconds in equal parts, memory that is given back, pictures that are read and cut once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typed import typed_methods

from gradfaith.attribution import bound_method, cell
from gradfaith.attribution.support import superpixels
from gradfaith.config.study import ImageSelection
from gradfaith.storage.hdf5 import ImageStore

CLASSES, KEY = ["normal", "benign", "malignant"], (0, "net", 1)
PLAIN = {"group": "methods", "use": "gradcam", "layer": "auto", "options": {}, "score": "logit", "shuffled": False}


@pytest.fixture(scope="module")
def images(images_file: Path) -> Iterator[ImageStore]:
    with ImageStore(images_file) as opened:
        yield opened


@pytest.fixture(scope="module")
def table(predictions: pd.DataFrame) -> pd.DataFrame:
    """Seven images, some of them answered wrong."""
    return cell.map_rows(cell.select_images(predictions, ImageSelection(max_images=7), 0), CLASSES)


class Slow:
    """A device that answers at once and works later: a second for every image that enters the network."""

    def __init__(self, net: torch.nn.Module) -> None:
        self.waiting, self.done = 0.0, 0.0
        self.hook = net.register_forward_pre_hook(self._launch)

    def _launch(self, _net: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.waiting += len(inputs[0])

    def clock(self, _device: torch.device) -> float:
        self.done, self.waiting = self.done + self.waiting, 0.0
        return self.done


def test_what_is_shared_is_paid_for_by_every_map_made_from_it_and_nothing_twice(
    classifier, images: ImageStore, table: pd.DataFrame
) -> None:
    """Two roles, seven and a few images; one forward for two CAMs, a slope for two pixel methods, passes of one's own."""
    asked = {name: PLAIN | {"use": name} for name in ("saliency", "gradcam", "input_x_gradient", "layercam")}
    asked["smoothgrad"] = PLAIN | {"use": "smoothgrad", "options": {"samples": 3}}
    asked["random"] = PLAIN | {"group": "controls", "use": "random"}
    slow, many = Slow(classifier.net), len(table)
    few = many - 7
    assert few > 0
    uses_ = bound_method.bind_methods(classifier, typed_methods(asked))
    one = cell.MapCell(
        classifier,
        images.pixels,
        table,
        uses_,
        key=KEY,
        copies=1,
        batch_limit=99,
        probe_layers=False,
        read_clock=slow.clock,
    )
    assert one.grids
    slow.waiting = 0.0  # the grids were asked for
    found = list(one.map_chunks())
    slow.hook.remove()
    seconds = {(piece.label, len(piece.maps)): piece.seconds for piece in found}
    for count in (7, few):
        assert seconds["gradcam", count] == pytest.approx(7 / 2 * count / many), (
            "the forward, by two methods and all maps"
        )
        assert seconds["layercam", count] == pytest.approx(seconds["gradcam", count])
        assert seconds["saliency", count] == seconds["input_x_gradient", count] == pytest.approx(count / 2)
        assert seconds["smoothgrad", count] == pytest.approx(3 * count)
        assert seconds["random", count] == 0
    assert sum(seconds.values()) == pytest.approx(slow.done)


class Tight:
    """A network that holds so much: each image of the batch takes three rows' place."""

    def __init__(self, net: torch.nn.Module, images: ImageStore, room: int) -> None:
        self.images, self.room, self.held, self.tried = images, room, 0, list[tuple[int, int, bool]]()
        self.hook = net.register_forward_pre_hook(self._enter)

    def pixels(self, ids: list[str]) -> np.ndarray:
        self.held = len(ids)
        return self.images.pixels(ids)

    def _enter(self, _net: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        rows = len(inputs[0])
        fits = rows <= self.room - 3 * self.held
        self.tried.append((self.held, rows, fits))
        if not fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")


def test_memory_that_the_batch_holds_is_given_back_before_passes_crawl(
    classifier, images: ImageStore, table: pd.DataFrame
) -> None:
    """Beside seven images four rows fit, beside three sixteen: the batch is halved, and passes begin anew."""
    asked = {"smoothgrad": PLAIN | {"use": "smoothgrad", "options": {"samples": 20}}}
    options = {"key": KEY, "copies": 1, "probe_layers": False}
    easy = cell.MapCell(
        classifier,
        images.pixels,
        table,
        bound_method.bind_methods(classifier, typed_methods(asked)),
        batch_limit=20,
        **options,
    )
    wanted = {piece.start: piece.maps for piece in easy.map_chunks()}
    tight = Tight(classifier.net, images, 25)
    hard = cell.MapCell(
        classifier,
        tight.pixels,
        table,
        bound_method.bind_methods(classifier, typed_methods(asked)),
        batch_limit="auto",
        **options,
    )
    assert hard.grids
    tight.tried.clear()
    found = list(hard.map_chunks())
    tight.hook.remove()
    assert [piece.start for piece in found if piece.start < 7] == [0, 3, 6]
    assert [(held, rows) for held, rows, fits in tight.tried if not fits] == [(7, 20), (7, 10), (7, 8), (3, 20)]
    assert {rows for _, rows, fits in tight.tried if fits} == {10, 20}
    for piece in found:
        same = np.concatenate([wanted[0], *(maps for start, maps in wanted.items() if start)])
        np.testing.assert_allclose(piece.maps, same[piece.start : piece.start + len(piece.maps)], rtol=1e-3, atol=1e-6)


def test_an_image_is_cut_once_and_its_organ_read_once_for_all_who_need_it(
    classifier, images: ImageStore, table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, reads = list[tuple[bytes, int]](), list[list[str]]()
    cut = superpixels.cut_superpixels

    def counted(image: torch.Tensor, segments: int) -> torch.Tensor:
        cuts.append((image.numpy().tobytes(), segments))
        return cut(image, segments)

    def organ(ids: list[str]) -> np.ndarray:
        reads.append(list(ids))
        return images.mask("evidence", ids)[0]

    monkeypatch.setattr(superpixels, "cut_superpixels", counted)
    few = {"segments": 4, "samples": 10, "fill": "mean"}
    asked = {name: PLAIN | {"use": name, "options": few} for name in ("lime", "kernel_shap")}
    asked["finer"] = asked["lime"] | {"options": few | {"segments": 5}}
    asked |= {name: PLAIN | {"group": "controls", "use": name} for name in ("lungs", "centre", "edges")}
    one = cell.MapCell(
        classifier,
        images.pixels,
        table,
        bound_method.bind_methods(classifier, typed_methods(asked)),
        key=KEY,
        copies=1,
        batch_limit=4,
        organ=organ,
    )
    maps = {(piece.label, piece.start): piece.maps for piece in one.map_chunks()}
    assert len(cuts) == len(set(cuts)) == 2 * 7
    assert [len(ids) for ids in reads] == [4, 3]
    ids = list(table["image_id"])
    for (label, start), found in maps.items():
        if label == "lungs":
            own = images.mask("evidence", ids[start : start + len(found)])[0]
            np.testing.assert_array_equal(found[:, 0], own)
