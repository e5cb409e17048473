"""Turn the outputs of a network into one logit per class, for the three kinds of heads that classifiers end with.

    softmax        z are logits of classes that exclude each other:             P(c) = exp(z_c) / sum_k exp(z_k)
    sigmoid        each z_k is the logit of a finding of its own, yes or no:    P(k) = 1 / (1 + exp(-z_k))
    probabilities  outputs are such probabilities already; z = log p, or log(p / (1 - p)) of a single output

A network with one output z decides between two classes: the softmax of (-z/2, z/2) is its sigmoid.

A class map assigns outputs to classes, so that an external classifier predicts the dataset's. Outputs without a class are left
out, and probabilities are conditional on the others. The logit of a class is

    log sum exp(z_k)               softmax: the logit of "one of its outputs"; probabilities of outputs add up
    log( prod (1 + exp(z_k)) - 1 ) sigmoid: the logit of "any of its findings", if findings are independent given the image

A class without outputs (sigmoid only) stands for "no finding of the other classes". Its odds are 1, a logit of 0. So that this
class has a map too, half of A, the logit of "any finding", is subtracted from the logits of all classes: (-A/2, z_c - A/2).
This changes no probability, and for one finding it gives (-z/2, z/2).

The softmax of a sigmoid head's class logits is the probability of a class, given that exactly one of the classes is true:
P(only c) is proportional to its odds.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradfaith.errors import ModelUnusable
from gradfaith.vocabulary import Head

ClassMap = Sequence[Sequence[int]]
_SUM_TOLERANCE = 1e-5


def read_logits(outputs: Tensor, head: Head) -> Tensor:  # (n, k) -> (n, k), or (n, 1) -> (n, 2)
    """Return the logits of a network's outputs; a single output gives the logits of two classes."""
    single = outputs.shape[1] == 1
    if head == "probabilities":
        limits = torch.finfo(outputs.dtype)
        outputs = outputs.logit(eps=limits.eps) if single else outputs.clamp(min=limits.tiny).log()
    return torch.cat([-outputs / 2, outputs / 2], dim=1) if single else outputs


def merge_outputs(logits: Tensor, class_map: ClassMap, *, exclusive: bool = True) -> Tensor:  # (n, k) -> (n, classes)
    """Return one logit per class. With an empty class map `logits` are returned unchanged.

    `exclusive`: outputs exclude each other; otherwise each is a finding of its own.
    """
    if not class_map:
        return logits
    if exclusive:
        return torch.stack([logits[:, list(outputs)].logsumexp(dim=1) for outputs in class_map], dim=1)
    none = torch.zeros_like(logits[:, 0])
    merged = torch.stack([_any_of(logits, outputs) if outputs else none for outputs in class_map], dim=1)
    if all(class_map):
        return merged
    mapped = [output for outputs in class_map for output in outputs]
    return merged - _any_of(logits, mapped)[:, None] / 2


def _any_of(logits: Tensor, outputs: Sequence[int]) -> Tensor:  # (n,)
    """Return the logit of "at least one of these findings", two findings at a time: e^a + e^b + e^(a + b)."""
    merged = logits[:, outputs[0]]
    for output in outputs[1:]:
        other = logits[:, output]
        merged = torch.stack([merged, other, merged + other]).logsumexp(dim=0)
    return merged


def check_outputs(outputs: Tensor, head: Head, name: str) -> None:  # (n, k)
    """Refuse outputs that cannot be what the study's `head` says they are."""
    shares = bool(((outputs >= 0) & (outputs <= 1)).all())
    if head == "probabilities" and not shares:
        lowest, highest = float(outputs.min()), float(outputs.max())
        raise ModelUnusable(
            problem=f"{name} returns values from {lowest:.3g} to {highest:.3g}, which are not probabilities.",
            reason="The architecture has `head: probabilities`, so its outputs must lie between 0 and 1.",
            fix="Set `head: softmax` or `head: sigmoid` in the study, for outputs that are logits.",
        )
    sums = (outputs.sum(dim=1) - 1).abs().amax() < _SUM_TOLERANCE
    if head != "probabilities" and shares and outputs.shape[1] > 1 and bool(sums):
        raise ModelUnusable(
            problem=f"{name} returns values between 0 and 1 that sum to 1: probabilities, not logits.",
            reason="Another softmax would flatten them, and every probability and score would be wrong.",
            fix="Set `head: probabilities` in the study, or leave the last softmax out of the network.",
        )
