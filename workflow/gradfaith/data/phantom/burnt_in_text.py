"""Plant a class-correlated text: an annotation that is part of the pixels, as scanners and viewers leave them.

    with probability `strength` a patient carries its own class's text, otherwise one drawn without looking at the class

All texts stand in the same corner, at the top left, in the same grey. Only their letters differ, so a network must read at
least one of them. A patient without its class's text has any of the three or none. The letters are 3 x 5 pixels, or complete
multiples of that on larger images.
"""

import numpy as np
from numpy.typing import NDArray

from gradfaith import rng
from gradfaith.data.phantom.scanner import PHANTOM_CLASSES, PhantomClass

TEXTS: dict[PhantomClass, str] = {"normal": "LDCT", "benign": "CT FU", "malignant": "STAGE"}
_GREY = 235
_LETTERS = {  # five rows of three pixels each
    "A": "010 101 111 101 101", "C": "011 100 100 100 011", "D": "110 101 101 101 110", "E": "111 100 110 100 111",
    "F": "111 100 110 100 100", "G": "011 100 101 101 011", "L": "100 100 100 100 111", "S": "011 100 010 001 110",
    "T": "111 010 010 010 010", "U": "101 101 101 101 111", " ": "000 000 000 000 000",
}  # fmt: skip


def draw_text(seed: int, patient: int, label: PhantomClass, strength: float) -> PhantomClass | None:
    """Draw the class whose text a patient's images carry, if any."""
    stream = rng.generator(seed, "phantom", patient, "text")
    tied, other = stream.random() < strength, (*PHANTOM_CLASSES, None)[int(stream.integers(len(PHANTOM_CLASSES) + 1))]
    return label if tied else other


def burn_text(pixels: NDArray[np.uint8], text_class: PhantomClass) -> NDArray[np.bool_]:  # (h, w)
    """Write a class's text into an image, in place, and return the pixels it covers."""
    size = pixels.shape[0]
    scale, edge = max(round(size / 112), 1), max(round(size * 0.03), 1)
    shape = np.kron(_bitmap(TEXTS[text_class]), np.ones((scale, scale), np.bool_))[: size - edge, : size - edge]
    covered = np.zeros(pixels.shape, np.bool_)
    covered[edge : edge + shape.shape[0], edge : edge + shape.shape[1]] = shape
    pixels[covered] = _GREY
    return covered


def _bitmap(text: str) -> NDArray[np.bool_]:  # (5, 4 * letters)
    """Return the pixels of a text, one empty column after each letter."""
    letters = [np.array([[pixel == "1" for pixel in row + "0"] for row in _LETTERS[sign].split()]) for sign in text]
    return np.concatenate(letters, axis=1)
