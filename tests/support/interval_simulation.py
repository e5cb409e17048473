"""Draw studies of a known mean and count how often the interval holds it.

A score is a clipped normal: patient, image, seed and patient x seed add up to a latent number, and the score is that number
held in [0, 1], so that shares of the scores lie at both ends as in a study. The mean of a clipped normal is known in closed
form, given the seeds and over them. The Gaussian population is the same without clipping.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from gradfaith import rng
from gradfaith.stats.interval_scales import PROPORTION, UNBOUNDED, Bounds, Estimates, interval_ends
from gradfaith.stats.spread import MIN_SEEDS, EstimateSpread, combine_spread, jackknife_of_means

CHUNK = 250  # studies drawn at a time


@dataclass(frozen=True)
class Population:
    """What scores are drawn from: the latent mean, and the standard deviations of the latent parts."""

    middle: float
    patient: float
    image: float
    bounds: Bounds = PROPORTION

    def mean(self, shift: np.ndarray | float, more_variance: float = 0.0) -> np.ndarray:
        """Return the mean score of models whose latent mean is shifted; `more_variance`: of parts averaged over."""
        middle = self.middle + np.asarray(shift)
        if not self.bounds.both:
            return middle
        sd = np.sqrt(self.patient**2 + self.image**2 + more_variance)
        low, high = (0 - middle) / sd, (1 - middle) / sd
        inner = middle * (norm.cdf(high) - norm.cdf(low)) - sd * (norm.pdf(high) - norm.pdf(low))
        return inner + 1 - norm.cdf(high)

    def scores(self, latent: np.ndarray) -> np.ndarray:
        """Return the scores of latent numbers."""
        return np.clip(latent, 0, 1) if self.bounds.both else latent


POPULATIONS = {
    "gaussian": Population(0.3, 0.7, 0.7, UNBOUNDED),
    "IoU 0.25": Population(0.15, 0.25, 0.25),  # a third of the scores are 0
    "LocAcc 0.85": Population(1.3, 0.55, 0.5),
    "ceiling 0.97": Population(1.95, 0.6, 0.4),
}
SEED_EFFECTS = {"none": 0.0, "moderate": 0.1, "large": 0.35}  # of the seed's latent shift, in patients' deviations


@dataclass(frozen=True)
class Design:
    """One cell of the simulation."""

    population: str
    groups: int
    seeds: int = 1
    effect: str = "none"

    def group_sizes(self) -> np.ndarray:
        """Return images per patient: log-normal, so that a few patients hold most images."""
        return np.ceil(np.exp(rng.generator("sizes", self.groups).normal(1.0, 0.8, self.groups))).astype(int)


def coverage(design: Design, studies: int, *, level: float = 0.95) -> tuple[float, int]:
    """Return the share of intervals that hold the mean, and how many left the range."""
    population, held, outside = POPULATIONS[design.population], 0, 0
    noise = rng.generator("coverage", design.population, design.groups, design.seeds, design.effect)
    for start in range(0, studies, CHUNK):
        n = min(CHUNK, studies - start)
        shift = SEED_EFFECTS[design.effect] * population.patient * noise.standard_normal((n, 1, design.seeds))
        spread, sizes = _draw(population, design, shift, noise)
        marginal = design.seeds >= MIN_SEEDS
        used = spread if marginal else spread.given_these_models()
        estimates = Estimates.of(
            used.estimate, np.sqrt(used.variance), used.df, float(sizes.sum()), float(design.groups)
        )
        ends = interval_ends(estimates, population.bounds, level)
        both = _crossed(population, design) ** 2
        truth = (
            population.mean(0.0, both + (SEED_EFFECTS[design.effect] * population.patient) ** 2)
            if marginal
            else population.mean(shift, both).mean(axis=(1, 2))
        )
        held += int(((ends.low <= truth) & (truth <= ends.high)).sum())
        outside += int(((ends.low < population.bounds.low) | (ends.high > population.bounds.high)).sum())
    return held / studies, outside


def _crossed(population: Population, design: Design) -> float:
    """Return the deviation of what a patient and a seed have together; one model has none of its own."""
    return 0.3 * population.patient if design.seeds > 1 else 0.0


def _draw(
    population: Population, design: Design, shift: np.ndarray, noise: np.random.Generator
) -> tuple[EstimateSpread, np.ndarray]:
    sizes, n = design.group_sizes(), len(shift)
    owner = np.repeat(np.arange(design.groups), sizes)
    patient = population.patient * noise.standard_normal((n, design.groups, 1))
    crossed = _crossed(population, design) * noise.standard_normal((n, design.groups, design.seeds))
    shared = noise.standard_normal((n, len(owner), 1))  # an image is hard for every seed
    own = noise.standard_normal((n, len(owner), design.seeds))
    image = population.image * (shared + own) / np.sqrt(2)
    scores = population.scores(population.middle + shift + (patient + crossed)[:, owner] + image)
    sums = np.add.reduceat(scores, np.r_[0, np.cumsum(sizes)[:-1]], axis=1)
    counts = np.broadcast_to(sizes[:, None].astype(float), sums.shape)
    return combine_spread(jackknife_of_means(sums, counts), [(seed,) for seed in range(design.seeds)]), sizes
