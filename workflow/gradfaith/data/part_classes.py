"""Say what a class made of kinds of parts needs: the part sets that name it, and two classes to contrast it with.

    class = one kind of every part;    removing a set of parts leaves the others                              [hesse2023]
    sufficient    what is left has these kinds in no other class
    contrast      two classes, each sharing all but three parts with the class, and no part with the class in common

The contrast classes are the first such pair in the order of the classes, as in the published code. Cost: negligible.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

Kinds = tuple[int, ...]  # of one class: the kind of every part, in the order of the part numbers, which start at 1
PartSet = tuple[int, ...]  # part numbers, in order
DIFFERENT = 3  # parts in which a contrast class differs


def part_sets(parts: int) -> list[PartSet]:
    """Return every set of parts, the empty one left out."""
    return [chosen for count in range(1, parts + 1) for chosen in combinations(range(1, parts + 1), count)]


def sufficient_removals(kinds: Kinds, others: Sequence[Kinds]) -> frozenset[PartSet]:
    """Return the sets of parts after whose removal what is left distinguishes the class from all `others`."""
    numbers = range(1, len(kinds) + 1)
    return frozenset(
        removed
        for removed in part_sets(len(kinds))
        if not any(
            all(kinds[part - 1] == other[part - 1] for part in numbers if part not in removed) for other in others
        )
    )


def contrast_classes(own: str, classes: Mapping[str, Kinds]) -> tuple[tuple[str, PartSet], ...]:
    """Return two contrast classes, each with the parts that it shares with `own`; none if there is no such pair."""
    shared = {name: shared_parts(classes[own], kinds) for name, kinds in classes.items() if name != own}
    near = [name for name, parts in shared.items() if len(parts) == len(classes[own]) - DIFFERENT]
    for first, second in combinations(near, 2):
        if not set(shared[first]) & set(shared[second]):
            return (first, shared[first]), (second, shared[second])
    return ()


def shared_parts(one: Kinds, other: Kinds) -> PartSet:
    """Return the numbers of the parts that are of one kind in both classes."""
    return tuple(place for place, (a, b) in enumerate(zip(one, other, strict=True), start=1) if a == b)
