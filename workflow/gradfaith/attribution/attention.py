"""Every block's attention in a transformer and its gradient: one forward and one backward for all blocks.

    found = attend(classifier, images)              plain attention and a hook per block, for this forward only
    found.ask(target).gradients()                   d score / d A of every block

A is what leaves the softmax, (heads, t, t), caught where timm drops out of it; fused kernels never form it. The first
block's is replaced by a leaf that asks for a gradient while every parameter is frozen, so the graph holds only what
follows. Gradients are total: what a block attends to also decides what later blocks do.

To speak of a network's attention (`lack`) every block must attend once, with rows that sum to one, among the same
tokens, and nothing else may attend; and its head must read the class token (two with distillation) or the mean of the
patches, which is asked of the gradient at the last block. Cost: blocks x heads x t^2 numbers per image, twice: 2 x 22 MB
for ViT-B at 224 px.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Literal

import torch
from torch import Tensor, nn

from gradfaith.attribution import layer_grids
from gradfaith.attribution.contract import Attention, Rows, score
from gradfaith.errors import LayerUnusable
from gradfaith.models.classifier import Classifier, frozen, noise, zeros_as_noise
from gradfaith.vocabulary import Score

READ: dict[str, Literal["class", "patches"]] = {"token": "class", "avg": "patches"}
FUSED = "fused_attn"  # timm's flag
ROUNDING = 1e-2  # how far a row's sum may be from one; bfloat16 rounds by 0.4 %


class Attended:
    """The attention of one forward pass; made by `attend`."""

    def __init__(self, net: nn.Module, weights: list[Tensor], logits: Tensor) -> None:
        self.net, self.weights, self.logits = net, weights, logits

    def ask(self, classes: Tensor, *, rows: Rows | None = None, kind: Score = "logit") -> Attention:
        """One class for each of the images, or of some `rows`; may be asked again for others."""
        layout = layer_grids.of_shape(self.net, "blocks", (self.weights[0].shape[-1], 1))
        assert layout is not None  # tokens have a grid, or are refused
        return Attention(
            weights=[_single(weights.detach(), rows) for weights in self.weights],
            gradients=cache(partial(self._gradients, classes, rows, kind)),
            prefix=layout.prefix,
            leading=_leading(self.net),
            read=READ[str(self.net.global_pool)],
            grid=layout.grid,
        )

    def _gradients(self, classes: Tensor, rows: Rows | None, kind: Score) -> list[Tensor]:
        scores = score(self.logits if rows is None else self.logits[rows], classes, kind)
        # Retained for the next target.
        return [_single(found, rows) for found in torch.autograd.grad(scores.sum(), self.weights, retain_graph=True)]


def attend(classifier: Classifier, images: Tensor) -> Attended:
    """A forward that keeps what every block attends to, on a network that does not `lack` it."""
    net, weights = classifier.net, list[Tensor]()

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        weights.append(output if weights else output.detach().requires_grad_())
        return weights[-1]

    modules = [module for block in _blocks(net) for module in _attending(block)]
    with frozen(classifier), _plain(modules), ExitStack() as hooks, torch.enable_grad():
        for module in modules:
            hooks.callback(module.get_submodule("attn_drop").register_forward_hook(keep).remove)
        logits = classifier(images.detach())
    return Attended(net, weights, logits)


def lack(classifier: Classifier) -> str | None:
    """Why a network's attention cannot be spoken of, in words; asked of its modules, then of its numbers."""
    fault = _lack_of_modules(classifier.net)
    if fault:
        return fault
    ends: list[Tensor] = []
    blocks = _blocks(classifier.net)
    hook = blocks[-1].register_forward_hook(lambda _module, _inputs, output: ends.append(output))
    try:
        with zeros_as_noise(classifier):
            found = attend(classifier, noise(classifier))
            return _lack_of_numbers(found, ends[0], blocks)
    finally:
        hook.remove()


def _lack_of_modules(net: nn.Module) -> str | None:
    every = _attending(net)
    if not every:
        return "it has no attention that can be read"
    if not isinstance(getattr(net, "blocks", None), nn.ModuleList | nn.Sequential):
        return "its attention is in stages or windows, not in one chain of blocks among the same tokens"
    inside = [_attending(block) for block in _blocks(net)]
    if {len(found) for found in inside} != {1}:
        return "not every block of it attends exactly once"
    outside = [type(part).__name__ for part in every if [part] not in inside]
    if outside:
        return f"it also attends outside its blocks ({outside[0]})"
    pool = getattr(net, "global_pool", None)
    if pool not in READ or getattr(net, "pool_include_prefix", False):
        return f'its head reads neither the class token nor the mean of the patches (global_pool "{pool}")'
    readable = all(isinstance(getattr(part, "attn_drop", None), nn.Module) for (part,) in inside)
    return None if readable else "its attention cannot be read after the softmax"


def _lack_of_numbers(found: Attended, end: Tensor, blocks: Sequence[nn.Module]) -> str | None:
    tokens = end.shape[1]
    for block, weights in zip(blocks, found.weights, strict=True):
        heads = getattr(_attending(block)[0], "num_heads", 0)
        if weights.shape != (len(end), heads, tokens, tokens):
            return f"a block attends in the shape {tuple(weights.shape)}, not each head from every token to every other"
        if (weights.sum(dim=-1) - 1).abs().amax() > ROUNDING or weights.amin() < 0:
            return "the rows of its attention do not sum to one"
    try:
        asked = found.ask(torch.zeros(len(end), dtype=torch.long, device=end.device))
    except LayerUnusable as refusal:
        return f"its tokens have no grid ({refusal.found.removesuffix('.')})"
    (gradient,) = torch.autograd.grad(found.logits[:, 0].sum(), end)
    live = (gradient.abs().amax(dim=(0, 2)) > 0).nonzero()[:, 0]
    absent = asked.read == "class" and asked.prefix < asked.leading
    if absent or not torch.equal(live, asked.reader().nonzero()[:, 1]):
        return f"its head reads {len(live)} of its {tokens} tokens, other ones than its pooling ({asked.read}) says"
    return None


def _blocks(net: nn.Module) -> list[nn.Module]:
    return list(net.get_submodule("blocks").children())


def _attending(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if hasattr(part, "attn_drop") or hasattr(part, FUSED)]


def _leading(net: nn.Module) -> int:
    return 2 if hasattr(net, "head_dist") else 1


def _single(found: Tensor, rows: Rows | None) -> Tensor:
    """At least in single precision."""
    found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
    return found if rows is None else found[rows]


@contextmanager
def _plain(modules: Sequence[nn.Module]) -> Iterator[None]:
    """timm's fused attention off; on leaving, as it was."""
    fused = [module for module in modules if getattr(module, FUSED, False)]
    try:
        for module in fused:
            setattr(module, FUSED, False)
        yield
    finally:
        for module in fused:
            setattr(module, FUSED, True)
