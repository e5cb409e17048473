"""The settings of methods that a benchmark measures: every option at its default, as in a study that says nothing more."""

from collections.abc import Iterable

from gradfaith.config.job_settings import MethodSettings


def plain_methods(names: Iterable[str]) -> dict[str, MethodSettings]:
    """Methods under their own names, at the default layer."""
    return {
        name: MethodSettings(
            group="methods", use=name, layer="auto", options={}, score="logit", reading="positive", shuffled=False
        )
        for name in names
    }
