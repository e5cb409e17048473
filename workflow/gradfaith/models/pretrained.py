"""Pretrained weights: fetched once through timm, kept as safetensors, read from there by every training.

Compute nodes of a cluster often have no network, so this is a job of its own and the only one that needs one.
"""

from pathlib import Path

from safetensors.torch import save

from gradfaith.atomic import replacing
from gradfaith.errors import ModelUnusable
from gradfaith.models.vision import timm


def fetch(name: str, path: Path) -> None:
    """Write timm's pretrained weights of an architecture to `path`."""
    try:
        net = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub raises a dozen kinds, and all mean the same here
        raise ModelUnusable(
            found=f"pretrained weights of {name} could not be fetched: {str(error).splitlines()[0] if str(error) else type(error).__name__}",
            why="They come from a hub on the network, and this machine did not get them.",
            then=f"Run `snakemake {path}` where there is a network and copy the file, or set `training.weights: none`.",
        ) from error
    with replacing(path) as draft:
        draft.write_bytes(save({key: value.contiguous() for key, value in net.state_dict().items()}))
