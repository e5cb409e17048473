"""Make the settings that jobs receive from plain values, as tests write them down."""

from collections.abc import Mapping
from typing import Any

from gradfaith.config.job_settings import MethodSettings
from gradfaith.config.result_settings import PrimaryContrast, StudyDescription
from gradfaith.config.sections import Passes
from gradfaith.config.study import PluginUse

PLAIN = Passes(channels_last=False, fold_batch_norm=False)
METHOD: Mapping[str, Any] = {
    "group": "methods", "layer": "auto", "options": {}, "score": "logit", "reading": "positive", "shuffled": False,
}  # fmt: skip


def typed_methods(uses: Mapping[str, Mapping[str, Any]]) -> dict[str, MethodSettings]:
    """Return label -> settings of methods; what is left out is plain."""
    return {label: MethodSettings(**{**METHOD, **use}) for label, use in uses.items()}


def plugin_uses(options: Mapping[str, Mapping[str, Any]]) -> dict[str, PluginUse]:
    """Return metrics or imputers under their own names; `options`: by name."""
    return {name: PluginUse(use=name, options=dict(own)) for name, own in options.items()}


def described(about: Mapping[str, Any]) -> StudyDescription:
    """Return what tables and figures say of a study; what is left out is empty."""
    blank: dict[str, Any] = {
        "level": 0.95, "min_groups": 8, "better": {}, "controls": [], "title": "", "classes": [], "architectures": [], "seeds": [],
        "ranks": {"rank_controls": "beside", "rank_only_correct": False}, "metrics": {}, "refinements": {}, "bounds": {},
        "evidence": "mask", "of_table": False, "notes": [],
    }  # fmt: skip
    return StudyDescription(**{**blank, **about, "primary": primary_contrast(about.get("primary", {}))})


def primary_contrast(primary: Mapping[str, str]) -> PrimaryContrast:
    """Return a primary comparison; what is left out is empty."""
    return PrimaryContrast(**{"metric": "", "method": "", "against": "", **primary})
