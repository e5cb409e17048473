"""A method as the study uses it, on one network: its layers found, its options filled in, its needs met.

A method of maps (`refine`) names another in its option `of`: that one is asked at every layer of the stack, with its own
defaults, and the maps are handed over from the layer asked for to the deepest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import Generator, Tensor

from gradfaith import registry
from gradfaith.attribution import requirements
from gradfaith.attribution.contract import Layered, Method, Need, Noted, Scene
from gradfaith.attribution.probe import probe
from gradfaith.attribution.shared_passes import Supply
from gradfaith.models.classifier import Classifier
from gradfaith.models.layers import resolve, stack
from gradfaith.storage.map_info import MapInfo
from gradfaith.vocabulary import Score

TAPPED = frozenset({"layer", "curvature", "head"})
Uses = Mapping[str, Mapping[str, Any]]  # label -> room, file, layer, options, score, whether it is shuffled


@dataclass(frozen=True)
class Given:
    """What one method is given for some images and one class each."""

    supply: Supply
    generators: Sequence[Generator]
    grid: tuple[int, int]  # of the study's layer, for controls
    organ: Tensor | None


@dataclass(frozen=True)
class Use:
    """One method under the study's label."""

    label: str
    name: str  # of the method's file
    module: ModuleType
    inner: ModuleType | None  # the method whose maps it combines
    options: Mapping[str, Any]
    layer: str
    layers: tuple[str, ...]  # those it taps, from the one asked for to the deepest
    score: Score
    shuffled: bool

    @property
    def declared(self) -> Method:
        method: Method = self.module.METHOD
        return method

    @property
    def wants(self) -> frozenset[Need]:
        return frozenset(self.declared.needs) | (frozenset(self.inner.METHOD.needs) if self.inner else frozenset())

    @property
    def control(self) -> bool:
        return "nothing" in self.declared.needs

    def info(self, copies: int) -> MapInfo:
        layers, declared = "+".join(self.layers), self.declared
        return MapInfo(self.name, layers, declared.grid, declared.signed, copies, "" if self.control else self.score)

    def attribute(self, given: Given) -> Tensor | Noted:  # (n, h, w)
        """The maps, whatever the method needs."""
        if self.inner is None:
            return _ask(self.module, given, self.layer, **self.options)
        answers = [_ask(self.inner, given, layer) for layer in self.layers]
        maps = [answer.maps if isinstance(answer, Noted) else answer for answer in answers]
        height, width = given.supply.images.shape[-2:]
        found: Tensor | Noted = self.module.attribute(Layered(maps, (height, width)), **self.options)
        return found


def uses_of(classifier: Classifier, asked: Uses) -> list[Use]:
    """The uses of a bundle on a network; one that is not defined there is refused."""
    uses = []
    for label, how in asked.items():
        module = registry.load(how["room"], how["use"])
        inner = registry.load("methods", how["options"]["of"]) if "maps" in module.METHOD.needs else None
        layer = resolve(classifier.net, how["layer"])
        layers: tuple[str, ...] = (layer,) if TAPPED & set(module.METHOD.needs) else ()
        if inner is not None:
            layers = stack(classifier.net, how["layer"])
            layer = layers[0]
        for path in layers or (layer,):
            for method in (module, inner):
                if method is not None:
                    requirements.check(classifier, path, label, method.METHOD.requires)
        uses.append(Use(label, how["use"], module, inner, how["options"], layer, layers, how["score"], how["shuffled"]))
    return uses


def probed(classifier: Classifier, words: str) -> None:
    """Refuse, before anything is trained, a method that this network has no map for; `words` as Plan.probed says them."""
    for word in words.split(" "):
        label, room, name, layer, of = word.split(":")
        how = {"room": room, "use": name, "layer": layer, "options": {"of": of}, "score": "logit", "shuffled": False}
        for use in uses_of(classifier, {label: how}):
            for path in use.layers or (use.layer,):
                probe(classifier, path)


def _ask(module: ModuleType, given: Given, layer: str, **options: Any) -> Tensor | Noted:
    found: Tensor | Noted = module.attribute(*(_met(need, given, layer) for need in module.METHOD.needs), **options)
    return found


def _met(need: Need, given: Given, layer: str) -> Any:
    supply = given.supply
    if need == "nothing":
        return Scene(supply.images, given.grid, given.generators, given.organ)
    if need == "image":
        return supply.image(given.generators)
    return getattr(supply, {"layer": "tap"}.get(need, need))(layer)
