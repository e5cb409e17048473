"""Run captum's attribution classes on the inputs of a method, and make the baseline images of pixel methods.

    on_scores("Occlusion", inputs)          a class of captum that reads scores, or gradients, of modified images
    on_image_gradient("Saliency", inputs)   a class that reads only the gradient of the unchanged images
    on_network("GuidedBackprop", inputs)    a class that changes the backward pass of the network's modules

captum calls `inputs.scores` and `inputs.gradients`. So the study's kind of score is explained, passes are cut into chunks that
fit into memory, and their time is charged to the method. The index of the image behind every row travels as captum's
`additional_forward_args`, which captum repeats together with the images. The gradient of the unchanged images is the one that
all methods of a bundle share.

captum draws random numbers from global generators. `noise_tunnel` draws from the image's own generator instead, and
`seeded_by` seeds the global generators from it and restores them. So a map depends neither on the batch nor on other methods.

captum hangs its rules on the tensor that enters a module. If two modules read the same tensor (a ReLU's output that a pool
and a shortcut read), each rule also changes the other's gradient. `on_network` therefore gives every module its own view.
A baseline is an image that represents "no evidence". Integrated gradients and DeepLIFT start their paths there, occlusion
fills its windows with it, and RISE its masks. The imputer of the same name computes it, so a method and a metric can use
the same "no evidence".

    black   0; on CT this is air, inside the body too
    mean    the grey that the network's normalisation subtracts, which is 0 for its first layer
    blur    the image without its detail

captum is imported on first use, because it takes half a second and imports matplotlib.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor, nn

from gradfaith.attribution.contract import RULED_MODULES, ImageInputs
from gradfaith.metrics.contract import Context
from gradfaith.metrics.imputers import black, blur, mean

Baseline = Literal["black", "mean", "blur"]
BASELINE_FILLS: Mapping[Baseline, Callable[..., Tensor]] = {"black": black.fill, "mean": mean.fill, "blur": blur.fill}


def on_scores(name: str, inputs: ImageInputs) -> Any:
    """Return captum's class `name` for the scores of modified images; `rows_of` makes its additional arguments."""

    def scores(images: Tensor, rows: Tensor) -> Tensor:  # (m, c, h, w), (m,) -> (m,)
        return inputs.scores(lambda some: images[some], rows)

    def gradients(
        forward_fn: object,  # noqa: ARG001 - captum passes it by name
        inputs: tuple[Tensor],
        target_ind: object = None,  # noqa: ARG001
        additional_forward_args: Any = None,
    ) -> tuple[Tensor]:
        (images,), (rows,) = inputs, additional_forward_args
        return (own_gradients(lambda some: images[some], rows),)

    own_gradients, method = inputs.gradients, captum_class(name)(scores)
    method.gradient_func = gradients  # of classes that use gradients; others never read it
    return method


def on_image_gradient(name: str, inputs: ImageInputs, **options: object) -> Tensor:  # (n, c, h, w)
    """Return the attribution by captum's class `name` to the unchanged images, from the gradient that methods share."""
    method = captum_class(name)(inputs.network)
    method.gradient_func = lambda *_given: (inputs.image_gradient(),)
    found: Tensor = method.attribute(inputs.images.detach().requires_grad_(), target=inputs.target, **options)
    return found.detach()


@contextmanager
def on_network(name: str, inputs: ImageInputs, *construction: object, own_views: bool = True) -> Iterator[Any]:
    """Yield captum's class `name` for the network; with `own_views`, every module reads a tensor of its own."""
    with ExitStack() as hooks, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting ")  # that captum sets hooks
        for module in inputs.network.modules() if own_views else ():
            if isinstance(module, RULED_MODULES):
                hooks.callback(module.register_forward_pre_hook(_own_view).remove)
        yield captum_class(name)(inputs.network, *construction)


def guided_gradcam(
    inputs: ImageInputs, gradcam: Tensor, enlarge: Literal["nearest", "bilinear"] = "bilinear"
) -> Tensor:  # (n, h, w) -> (n, h, w)
    """Return captum's GuidedGradCam of the images from these Grad-CAM maps, which the bundle shares.

    captum's own pass would be a second one, and would read the layer's output as (n, c, h, w) whatever it is: tokens and
    channels-last grids have other axes.
    """

    def shared_maps(_own: object, **_given: object) -> Tensor:
        return gradcam[:, None].to(inputs.images.dtype)

    with on_network("GuidedGradCam", inputs, None) as method:
        method.grad_cam = SimpleNamespace(attribute=SimpleNamespace(__wrapped__=shared_maps))
        images = inputs.images.detach().requires_grad_()
        found: Tensor = method.attribute(images, inputs.target, interpolate_mode=enlarge)
    return found.detach().sum(dim=1)


def rows_of(inputs: ImageInputs, row: int | None = None) -> dict[str, tuple[Tensor]]:
    """Return captum's argument that states which image every row is: all images in order, or a single one."""
    rows = torch.arange(len(inputs.images)) if row is None else torch.tensor([row])
    return {"additional_forward_args": (rows.to(inputs.images.device),)}


def noise_tunnel(method: Any, draw: Callable[[int], Tensor]) -> Any:
    """Return captum's NoiseTunnel around a method; `draw(m)` returns the next m noise images (m, c, h, w) of unit variance."""
    tunnel = captum_class("NoiseTunnel")(method)

    def add_noise(count: int, images: tuple[Tensor], deviation: float) -> tuple[Tensor]:
        return ((images[0] + deviation * draw(count).to(images[0])).requires_grad_(),)

    tunnel._add_noise_to_inputs = add_noise  # captum's draws from the generator of the images' device
    return tunnel


@contextmanager
def seeded_by(generator: Generator, device: torch.device) -> Iterator[None]:
    """Seed the global generators that captum draws from, inside the block only, with a draw from an image's generator."""
    seed = int(torch.randint(2**31, (), generator=generator))
    before = np.random.get_state()  # noqa: NPY002 - captum's GradientShap draws from numpy's global generator
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def captum_class(name: str) -> Any:
    """Return one of captum's attribution classes."""
    return getattr(import_module("captum.attr"), name)


def _own_view(_module: nn.Module, entering: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(tensor.view_as(tensor) for tensor in entering)


def baseline_images(inputs: ImageInputs, kind: Baseline) -> Tensor:  # (n, c, h, w)
    """Return the baseline of every image."""
    return BASELINE_FILLS[kind](inputs.images, Context(keep=None, mean=inputs.mean))
