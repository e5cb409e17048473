"""Where the repository is, and the classes and the size of the small images of the fixtures."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


CLASSES = ["normal", "benign", "malignant"]


SIDE = 32
