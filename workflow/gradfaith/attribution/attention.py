"""Read the attention of every block of a transformer, and its gradient: one forward and one backward for all blocks.

    attention = record_attention(classifier, images)    plain attention and a hook per block, for this forward only
    attention.for_target(target).gradients()            d score / d A of every block

A is the output of the softmax, (heads, t, t), read at timm's dropout after it; fused kernels never compute it. The first
block's A is replaced by a leaf tensor that requires a gradient, while every parameter is frozen. So the graph contains only
the operations after it. Gradients are total: the attention of a block also changes the output of later blocks.

`check_attention` returns whether these are defined for a network. Every block must attend once, among the same tokens, with
rows that sum to one, and nothing else may attend. The head must read the class token (two with distillation) or the mean of
the patches; the gradient at the last block shows which. Cost: blocks x heads x t^2 numbers per image, twice: 2 x 22 MB for
ViT-B at 224 px.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn

from gradfaith.attribution import taps
from gradfaith.attribution.contract import Attention, ImageRows, TokensRead, target_score
from gradfaith.errors import LayerUnusable
from gradfaith.models.classifier import Classifier, probe_images
from gradfaith.models.layers import freeze_temporarily, replace_zero_weights
from gradfaith.vocabulary import Score

TOKENS_READ: dict[str, TokensRead] = {"token": "class", "avg": "patches"}
FUSED_FLAG = "fused_attn"  # timm's flag for fused attention
MAX_ROW_SUM_ERROR = 1e-2  # tolerance of a row's sum around one; bfloat16 rounds by 0.4 %


class AttentionPass:
    """The attention of one forward pass; made by `record_attention`."""

    def __init__(self, net: nn.Module, weights: list[Tensor], logits: Tensor) -> None:
        self.net, self.weights, self.logits = net, weights, logits

    def for_target(self, classes: Tensor, *, rows: ImageRows | None = None, kind: Score = "logit") -> Attention:
        """Return the attention for one class per image, or per image in `rows`. It can be called again for other classes."""
        layout = taps.layout_of_shape(self.net, "blocks", (self.weights[0].shape[-1], 1))
        assert layout is not None  # for tokens, it returns a layout or raises an error
        return Attention(
            weights=[_rows_in_single_precision(weights.detach(), rows) for weights in self.weights],
            gradients=cache(partial(self._gradients, classes, rows, kind)),
            prefix_tokens=layout.prefix_tokens,
            class_tokens=_count_class_tokens(self.net),
            tokens_read=TOKENS_READ[str(self.net.global_pool)],
            grid=layout.grid,
        )

    def _gradients(self, classes: Tensor, rows: ImageRows | None, kind: Score) -> list[Tensor]:
        scores = target_score(self.logits if rows is None else self.logits[rows], classes, kind)
        # Retained for the next target.
        return [
            _rows_in_single_precision(found, rows)
            for found in torch.autograd.grad(scores.sum(), self.weights, retain_graph=True)
        ]


def record_attention(classifier: Classifier, images: Tensor) -> AttentionPass:
    """Run a forward pass that keeps every block's attention, on a network that passes `check_attention`."""
    net, weights = classifier.net, list[Tensor]()

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        weights.append(output if weights else output.detach().requires_grad_())
        return weights[-1]

    modules = [module for block in _blocks(net) for module in _attention_modules(block)]
    with freeze_temporarily(classifier), _plain_attention(modules), ExitStack() as hooks, torch.enable_grad():
        for module in modules:
            hooks.callback(module.get_submodule("attn_drop").register_forward_hook(keep).remove)
        logits = classifier(images.detach())
    return AttentionPass(net, weights, logits)


def check_attention(classifier: Classifier) -> str | None:
    """Return why a network's attention cannot be used, or None; checks its modules, then its values."""
    missing = _check_modules(classifier.net)
    if missing:
        return missing
    ends: list[Tensor] = []
    blocks = _blocks(classifier.net)
    hook = blocks[-1].register_forward_hook(lambda _module, _inputs, output: ends.append(output))
    try:
        with replace_zero_weights(classifier):
            found = record_attention(classifier, probe_images(classifier))
            return _check_values(found, ends[0], blocks)
    finally:
        hook.remove()


def _check_modules(net: nn.Module) -> str | None:
    all_modules = _attention_modules(net)
    if not all_modules:
        return "it has no attention that can be read"
    if not isinstance(getattr(net, "blocks", None), nn.ModuleList | nn.Sequential):
        return "its attention is in stages or windows, not in one chain of blocks among the same tokens"
    inside = [_attention_modules(block) for block in _blocks(net)]
    if {len(found) for found in inside} != {1}:
        return "not every block of it attends exactly once"
    outside = [type(part).__name__ for part in all_modules if [part] not in inside]
    if outside:
        return f"it also attends outside its blocks ({outside[0]})"
    pool = getattr(net, "global_pool", None)
    if pool not in TOKENS_READ or getattr(net, "pool_include_prefix", False):
        return f'its head reads neither the class token nor the mean of the patches (global_pool "{pool}")'
    readable = all(isinstance(getattr(part, "attn_drop", None), nn.Module) for (part,) in inside)
    return None if readable else "its attention cannot be read after the softmax"


def _check_values(found: AttentionPass, end: Tensor, blocks: Sequence[nn.Module]) -> str | None:
    tokens = end.shape[1]
    for block, weights in zip(blocks, found.weights, strict=True):
        heads = getattr(_attention_modules(block)[0], "num_heads", 0)
        if weights.shape != (len(end), heads, tokens, tokens):
            return f"a block attends in the shape {tuple(weights.shape)}, not each head from every token to every other"
        if (weights.sum(dim=-1) - 1).abs().amax() > MAX_ROW_SUM_ERROR or weights.amin() < 0:
            return "the rows of its attention do not sum to one"
    try:
        attention = found.for_target(torch.zeros(len(end), dtype=torch.long, device=end.device))
    except LayerUnusable as error:
        return f"its tokens have no grid ({error.problem.removesuffix('.')})"
    (gradient,) = torch.autograd.grad(found.logits[:, 0].sum(), end)
    live = (gradient.abs().amax(dim=(0, 2)) > 0).nonzero()[:, 0]
    absent = attention.tokens_read == "class" and attention.prefix_tokens < attention.class_tokens
    if absent or not torch.equal(live, attention.read_weights().nonzero()[:, 1]):
        return f"its head reads {len(live)} of its {tokens} tokens, other ones than its pooling ({attention.tokens_read}) says"
    return None


def _blocks(net: nn.Module) -> list[nn.Module]:
    return list(net.get_submodule("blocks").children())


def _attention_modules(module: nn.Module) -> list[nn.Module]:
    return [part for part in module.modules() if hasattr(part, "attn_drop") or hasattr(part, FUSED_FLAG)]


def _count_class_tokens(net: nn.Module) -> int:
    return 2 if hasattr(net, "head_dist") else 1


def _rows_in_single_precision(found: Tensor, rows: ImageRows | None) -> Tensor:
    """Return some rows, at least in single precision."""
    found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
    return found if rows is None else found[rows]


@contextmanager
def _plain_attention(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Switch timm's fused attention off inside the block, and restore it afterwards."""
    fused = [module for module in modules if getattr(module, FUSED_FLAG, False)]
    try:
        for module in fused:
            setattr(module, FUSED_FLAG, False)
        yield
    finally:
        for module in fused:
            setattr(module, FUSED_FLAG, True)
