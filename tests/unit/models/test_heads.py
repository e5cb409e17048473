"""Class logits of softmax, sigmoid and probability heads, by closed forms and by counting what can be true together."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradfaith.errors import ModelUnusable
from gradfaith.models.classifier import Classifier, ClassifierSpec
from gradfaith.models.heads import check_outputs, merge_outputs, read_logits
from gradfaith.models.predict import ClassMerge, class_probabilities
from gradfaith.vocabulary import Head


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2


class Answers(nn.Module):
    """A network that returns the first numbers of an image."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, : self.outputs]


def classify(outputs: Tensor, head: Head, class_map: tuple[tuple[int, ...], ...] = ()) -> Tensor:
    n, k = outputs.shape
    spec = ClassifierSpec("x", k, 1, 1, 2, 0.0, 1.0, head=head, class_map=class_map)
    images = torch.zeros(n, 1, 2, 4, dtype=outputs.dtype)
    images.flatten(1)[:, :k] = outputs
    return Classifier(Answers(k), spec).double()(images)


def test_one_output_is_a_sigmoid_of_two_classes_in_either_order() -> None:
    z = drawn(9, 1)
    for head in ("softmax", "sigmoid"):
        logits = classify(z, head)
        torch.testing.assert_close(logits, torch.cat([-z / 2, z / 2], dim=1))
        torch.testing.assert_close(logits.softmax(1)[:, 1], z[:, 0].sigmoid())
        torch.testing.assert_close(classify(z, head, ((1,), (0,))).softmax(1)[:, 0], z[:, 0].sigmoid())
    torch.testing.assert_close(classify(z.sigmoid(), "probabilities"), torch.cat([-z / 2, z / 2], dim=1))


def test_the_log_odds_of_a_single_output_are_its_logit() -> None:
    from gradfaith.attribution.contract import target_score

    z = drawn(9, 1)
    for kind in ("log_odds", "margin"):
        torch.testing.assert_close(target_score(classify(z, "sigmoid"), torch.ones(9, dtype=torch.long), kind), z[:, 0])


def test_the_logit_of_a_finding_is_the_network_s_own() -> None:
    z = drawn(6, 4)
    assert torch.equal(classify(z, "sigmoid", ((2,), (0,))), z[:, [2, 0]])
    assert torch.equal(classify(z, "sigmoid"), z)


@pytest.mark.parametrize("class_map", [((0,), (2,)), ((0, 3), (1,)), ((), (1,)), ((), (0, 2), (3,)), ((1, 0, 2), ())])
def test_probabilities_count_the_cases_in_which_exactly_one_class_is_true(
    class_map: tuple[tuple[int, ...], ...],
) -> None:
    """Every combination of findings, weighted by its probability; a class is true if any of its findings is."""
    z = drawn(5, 4)
    p, mapped = z.sigmoid(), sorted({output for outputs in class_map for output in outputs})
    weight = torch.zeros(5, len(class_map), dtype=torch.float64)
    for present in product((False, True), repeat=len(mapped)):
        found = {output for output, there in zip(mapped, present, strict=True) if there}
        share = torch.stack([p[:, o] if o in found else 1 - p[:, o] for o in mapped]).prod(dim=0)
        true = [bool(found & set(outputs)) if outputs else not found for outputs in class_map]
        if sum(true) == 1:
            weight[:, true.index(True)] += share
    wanted = weight / weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(classify(z, "sigmoid", class_map).softmax(1), wanted)
    merge = ClassMerge(class_map, exclusive=False)
    np.testing.assert_allclose(class_probabilities(z.numpy(), merge=merge), wanted.numpy())


def test_the_class_of_no_finding_is_predicted_below_one_half_and_has_a_gradient() -> None:
    z = torch.tensor([[-0.3], [0.2]], dtype=torch.float64).expand(-1, 2).clone()
    z[:, 1] = -3.0
    logits = classify(z, "sigmoid", ((), (0,), (1,)))
    assert logits.argmax(1).tolist() == [0, 1]
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(merge_outputs(z, ((), (0,), (1,)), exclusive=False)[:, 0].sum(), z)
    assert (gradient < 0).all()


def test_large_logits_of_findings_stay_finite() -> None:
    z = torch.tensor([[200.0, -300.0, 150.0]])
    logits = classify(z.double(), "sigmoid", ((), (0, 2), (1,)))
    assert logits.isfinite().all()
    assert float(logits[0, 1] - logits[0, 0]) == pytest.approx(350)


def test_probabilities_add_up() -> None:
    p = drawn(7, 4).softmax(1)
    torch.testing.assert_close(classify(p, "probabilities").softmax(1), p)
    joined = classify(p, "probabilities", ((0, 3), (1,))).softmax(1)
    torch.testing.assert_close(joined[:, 0], (p[:, 0] + p[:, 3]) / (p[:, [0, 1, 3]].sum(dim=1)))


def test_a_probability_of_zero_has_a_logit() -> None:
    assert read_logits(torch.tensor([[0.0, 1.0]]), "probabilities").isfinite().all()
    assert read_logits(torch.tensor([[1.0]]), "probabilities").isfinite().all()


def test_outputs_that_are_not_what_the_head_says_are_refused() -> None:
    p = drawn(2, 3).softmax(1).float()
    with pytest.raises(ModelUnusable, match="probabilities, not logits"):
        check_outputs(p, "softmax", "net")
    with pytest.raises(ModelUnusable, match="not probabilities"):
        check_outputs(drawn(2, 3), "probabilities", "net")
    check_outputs(p, "probabilities", "net")
    check_outputs(drawn(2, 3), "sigmoid", "net")
    check_outputs(p[:, :1], "softmax", "net")


def test_a_class_of_no_finding_cannot_be_merged_with_another() -> None:
    spec = ClassifierSpec("x", 2, 1, 1, 32, 0.0, 1.0, head="sigmoid", class_map=((), (0,), (1,)))
    assert spec.with_class_map(((0,), (1, 2))).class_map == ((), (0, 1))
    with pytest.raises(ModelUnusable, match="stands for no finding"):
        spec.with_class_map(((0, 1), (2,)))


def test_a_card_states_the_head_only_where_it_is_another() -> None:
    spec = ClassifierSpec("x", 2, 1, 1, 32, 0.0, 1.0)
    assert not {"head", "onnx", "module"} & set(spec.to_json())
    mine = ClassifierSpec("x", 1, 1, 1, 32, 0.0, 1.0, head="sigmoid")
    assert ClassifierSpec.from_json(mine.to_json()) == mine
    assert (mine.n_targets, mine.exclusive) == (2, True)
