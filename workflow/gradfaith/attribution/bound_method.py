"""Bind the methods of a study to one network: find their layers, check their requirements, pass their inputs.

A method that combines maps (`refine`) names another method in its option `of`. The named method runs with the options
`of_options` at every layer of the stack. Its maps are passed on in order, from the configured layer to the deepest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from torch import Generator, Tensor

from gradfaith import registry
from gradfaith.attribution import requirements
from gradfaith.attribution.contract import ControlInputs, LayerMaps, MapsWithDiagnostics, Method, Need
from gradfaith.attribution.probe import probe
from gradfaith.attribution.shared_passes import MethodInputs
from gradfaith.config.job_settings import MethodSettings
from gradfaith.models.classifier import Classifier
from gradfaith.models.layers import is_black_box, layer_stack, resolve_layer
from gradfaith.storage.map_info import MapInfo
from gradfaith.vocabulary import Reading, Score

TAP_NEEDS = frozenset({"layer", "curvature", "head"})


@dataclass(frozen=True)
class MethodCall:
    """The arguments of one call of a method: some images, with one target class for each."""

    inputs: MethodInputs
    generators: Sequence[Generator]
    grid: tuple[int, int]  # of the study's layer, for controls
    organ: Tensor | None  # (n, h, w) bool


@dataclass(frozen=True)
class BoundMethod:
    """One method or control of the study, bound to the layers of one network."""

    label: str
    name: str  # of the method's file
    module: ModuleType
    inner_module: ModuleType | None  # the method whose maps this one combines
    options: Mapping[str, Any]
    layer: str
    layers: tuple[str, ...]  # the tapped layers, from the configured one to the deepest
    score: Score
    reading: Reading
    shuffled: bool

    @property
    def declared(self) -> Method:
        method: Method = self.module.METHOD
        return method

    @property
    def needs(self) -> frozenset[Need]:
        """Return the needs of the method and of the method whose maps it combines."""
        inner_needs = self.inner_module.METHOD.needs if self.inner_module else ()
        return frozenset(self.declared.needs) | frozenset(inner_needs)

    @property
    def is_control(self) -> bool:
        return "nothing" in self.declared.needs

    def map_info(self, copies: int) -> MapInfo:
        """Return the description of the method's maps for a map store."""
        layers, declared, score = "+".join(self.layers), self.declared, "" if self.is_control else self.score
        return MapInfo(self.name, layers, declared.grid, declared.signed, copies, score, self.reading)

    def attribute(self, call: MethodCall) -> Tensor | MapsWithDiagnostics:  # (n, h, w)
        """Compute the maps in the method's native resolution."""
        if self.inner_module is None:
            return _attribute(self.module, call, self.layer, **self.options)
        inner_options = self.options.get("of_options", {})
        results = [_attribute(self.inner_module, call, layer, **inner_options) for layer in self.layers]
        maps = [result.maps if isinstance(result, MapsWithDiagnostics) else result for result in results]
        height, width = call.inputs.images.shape[-2:]
        combined: Tensor | MapsWithDiagnostics = self.module.attribute(LayerMaps(maps, (height, width)), **self.options)
        return combined


def tapped_layers(methods: Iterable[BoundMethod]) -> list[str]:
    """Return the layers that some methods tap, each once."""
    return list(dict.fromkeys(layer for method in methods for layer in method.layers))


def bind_methods(classifier: Classifier, settings: Mapping[str, MethodSettings]) -> list[BoundMethod]:
    """Bind the methods of a bundle to a network; raise `MethodUndefined` for one that is not defined there.

    `settings`: by the study's label.
    """
    methods = []
    for label, how in settings.items():
        module = registry.load(how.group, how.use)
        if is_black_box(classifier.net):
            requirements.require_answers_only(classifier, label, how)
        inner = registry.load("methods", how.options["of"]) if "maps" in module.METHOD.needs else None
        layer = resolve_layer(classifier.net, how.layer)
        layers: tuple[str, ...] = (layer,) if TAP_NEEDS & set(module.METHOD.needs) else ()
        if inner is not None:
            layers = layer_stack(classifier.net, how.layer)
            layer = layers[0]
        for path in layers or (layer,):
            for method in (module, inner):
                if method is not None:
                    requirements.require_traits(classifier, path, label, method.METHOD.requires)
        methods.append(
            BoundMethod(label, how.use, module, inner, how.options, layer, layers, how.score, how.reading, how.shuffled)
        )
    return methods


def probe_methods(
    classifier: Classifier, settings: Mapping[str, MethodSettings], probed: set[str] | None = None
) -> None:
    """Raise an error before any training if a method has no map on this network.

    Each layer is probed once. Layers in `probed` are skipped, and usable layers are added to it.
    """
    done = set[str]() if probed is None else probed
    for method in bind_methods(classifier, settings):
        for path in method.layers or (method.layer,):
            if path and path not in done:
                probe(classifier, path)
                done.add(path)


def _attribute(module: ModuleType, call: MethodCall, layer: str, **options: Any) -> Tensor | MapsWithDiagnostics:
    inputs = (_input_of(need, call, layer) for need in module.METHOD.needs)
    maps: Tensor | MapsWithDiagnostics = module.attribute(*inputs, **options)
    return maps


def _input_of(need: Need, call: MethodCall, layer: str) -> Any:
    inputs = call.inputs
    if need == "nothing":
        return ControlInputs(inputs.images, call.grid, call.generators, call.organ)
    if need == "image":
        return inputs.image(call.generators)
    return getattr(inputs, {"layer": "tap"}.get(need, need))(layer)
