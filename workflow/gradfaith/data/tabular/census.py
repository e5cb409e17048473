"""A table like a census, computed with a planted truth: linear terms, one interaction, a correlated copy, and noise.

    z = 1.2 age* + 1.0 education* + 0.8 hours* + gain + 0.9 (2 sex - 1) experience*
    target: z + noise above 0 (classification), or z + noise (regression)

A star marks a standardised value. `commute` and `region` are noise. `salary_grade` is a noisy copy of `education`: correlated with it
(`correlation`), and without any effect. A person has `waves` rows that share traits, so rows of one person are not independent.
The truth of a row is the exact Shapley value of z with independent features, from the formula: a linear term's deviation from
its mean, and half of what the interaction term deviates for each of its two features. No file, no network.
"""

import numpy as np
import pandas as pd

from gradfaith import rng
from gradfaith.data.tabular.columns import SourceTable, TableSource

TABLE = TableSource(limits=("people >= 20", "waves >= 1", "0 <= correlation < 1", "noise >= 0", "seed >= 0"))
LINEAR = {"age": 1.2, "education": 1.0, "hours": 0.8}
INTERACTION, GAIN = 0.9, 2.0


def read(
    *,
    people: int = 600,
    waves: int = 2,
    correlation: float = 0.6,
    noise: float = 0.6,
    regression: bool = False,
    seed: int = 0,
) -> SourceTable:
    """Return the table. `correlation`: of the noisy copy with education; `noise`: standard deviation of what no feature explains."""
    random = rng.generator(seed, "census")
    person = np.repeat(np.arange(people), waves)
    trait = random.normal(size=(people, 5))[person]
    unit = 0.9 * trait + np.sqrt(1 - 0.9**2) * random.normal(size=(len(person), 5))  # waves of a person differ a little
    age, education, hours, experience, commute = unit.T
    copy = correlation * education + np.sqrt(1 - correlation**2) * random.normal(size=len(person))
    sex = random.integers(0, 2, people)[person]
    gains = (random.random(len(person)) < 0.2).astype(float)
    region = random.integers(0, 4, people)[person]
    terms = {
        name: weight * values for (name, weight), values in zip(LINEAR.items(), (age, education, hours), strict=True)
    }
    sign = 2.0 * sex - 1
    together = INTERACTION * sign * experience
    terms |= {"capital_gain": GAIN * gains, "sex": 0.0 * age, "experience": 0.0 * age}
    z = sum(terms.values()) + together - GAIN * 0.2
    answer = z + noise * random.normal(size=len(person))
    truth = pd.DataFrame({name: term - term.mean() for name, term in terms.items()})
    # v(sex) = E[.|sex], v(experience) = E[.|experience]: both are 0 up to the means, so each has half of the product
    means = INTERACTION * sign.mean(), INTERACTION * experience.mean()
    base = INTERACTION * sign.mean() * experience.mean()
    truth["sex"] = 0.5 * ((sign * means[1] - base) + (together - means[0] * experience))
    truth["experience"] = 0.5 * ((means[0] * experience - base) + (together - sign * means[1]))
    features = pd.DataFrame(
        {
            "age": np.clip(np.round(42 + 12 * age), 17, 90),
            "education": np.clip(np.round(10 + 2.5 * education, 1), 1, 18),
            "hours": np.clip(np.round(40 + 9 * hours), 1, 99),
            "capital_gain": gains * 5000,
            "sex": np.array(["female", "male"])[sex],
            "experience": np.round(15 + 6 * experience, 1),
            "salary_grade": np.round(5 + 2 * copy, 1),
            "commute": np.round(30 + 10 * commute),
            "region": np.array(["north", "east", "south", "west"])[region],
        }
    )
    truth = truth.assign(salary_grade=0.0, commute=0.0, region=0.0)[list(features)]
    target = pd.Series(answer) if regression else pd.Series(np.where(answer > 0, ">50K", "<=50K"))
    return SourceTable(features, target, pd.Series([f"person-{one:05d}" for one in person]), truth)
