"""GradFaith measures how far the heat maps of an image classifier can be believed."""

__version__ = "0.1.0"
