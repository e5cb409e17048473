"""What a method declares of the scores it can explain, and of the limits of its options, tried on a network it is defined on."""

from typing import Any

import pytest
from networks import EVERY, network
from test_methods import COUNT, asked, home, options, pictures, use_of

from gradfaith import registry
from gradfaith.config import options as study_options


@pytest.mark.parametrize("name", registry.names("methods"))
def test_it_explains_every_score_it_says_it_can(name: str) -> None:
    """Finite, the same alone as in a batch, and another map than the logit's, where a map depends on what is asked."""
    where, declared = home(name), registry.load("methods", name).METHOD
    classifier, images = network(where), pictures(where)
    kinds = [kind for kind in declared.scores if kind != "logit"]
    logit = asked(classifier, use_of(classifier, "methods", name), images, [0, 1]).maps if kinds else None
    for kind in kinds:
        use = use_of(classifier, "methods", name, kind)
        maps = asked(classifier, use, images, [0, 1]).maps
        assert maps.isfinite().all()
        assert (asked(classifier, use, images, [1]).maps - maps[1]).abs().max() <= 1e-6 * maps.abs().max()
        assert maps.equal(logit) != declared.targeted
    assert "logit" in declared.scores, "which test_methods.py asks for"


# As little as the limits of its options let anybody ask for.
LEAST: dict[str, dict[str, Any]] = {
    "feature_ablation": {"segments": 3},
    "gradient_shap": {"samples": 1, "noise": 0.0},
    "integrated_gradients": {"steps": 1},
    "kernel_shap": {"segments": 3, "samples": 6},
    "lime": {"segments": 3, "samples": 6, "ridge": 0.0},
    "lrp": {"epsilon": 0.0, "gamma": 0.0},
    "occlusion": {"window": 0.25, "stride": 0.25},
    "rise": {"masks": 1, "grid": 2, "keep": 0.5},
    "scorecam": {"channels": 1},
    "shapley_sampling": {"segments": 3, "orders": 1},
    "smoothgrad": {"samples": 1, "noise": 0.0},
}


@pytest.mark.parametrize("name", LEAST)
def test_it_works_at_the_limits_of_its_options(name: str) -> None:
    where, given = home(name), LEAST[name]
    classifier, images = network(where), pictures(where)
    study = {"size": EVERY[where].size, "seeds": 1}
    assert study_options.broken_limits("methods", name, options("methods", name) | given, study) == []
    found = asked(classifier, use_of(classifier, "methods", name, **given), images, [0, 1])
    assert found.maps.isfinite().all()
    assert found.maps.shape[0] == COUNT


def test_every_method_whose_options_have_limits_is_asked_at_them() -> None:
    assert set(LEAST) == {name for name in registry.names("methods") if registry.load("methods", name).METHOD.limits}
