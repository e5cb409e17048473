"""docs/layers.py, which knows a small network of every timm module."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from small_images import ROOT


@pytest.fixture(scope="session")
def page() -> Iterator[ModuleType]:
    """docs/layers.py, imported from where it lies."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import layers

        yield layers
    finally:
        sys.path.remove(str(ROOT / "docs"))
