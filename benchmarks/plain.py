"""Return the settings of methods for benchmarks: every option at its default."""

from collections.abc import Iterable

from gradfaith.config.job_settings import MethodSettings


def plain_methods(names: Iterable[str]) -> dict[str, MethodSettings]:
    """Return methods under their own names, at the default layer."""
    return {
        name: MethodSettings(
            group="methods", use=name, layer="auto", options={}, score="logit", reading="positive", shuffled=False
        )
        for name in names
    }
