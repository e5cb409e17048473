"""Define what a claim is: a sentence of a paper as a hypothesis that the numbers of a study support or refute.

A claim names no architecture and no label of a study. It names roles: a plug-in (`gradcam`), all `controls`, a family of
networks (`cnn`, `densenet`). `config/claim_tests.py` finds what plays each role in a study. stats/claims.py has the rule.

A claim has one part, or several under `parts:` that must hold together. Keys beside `parts` are those of every part.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from gradfaith.config.sections import Label, Line, StrictModel

Quantity = Literal[
    "difference", "win_rate", "slope", "spread", "error_share", "classification", "correlation", "fooled", "studies"
]
Images = Literal["all", "correct", "several"]
Over = Literal["all", "most", "any"]
Side = Literal["above", "below"]
ALL_CONTROLS, OWN_SHUFFLED, BASE, CHANCE, OTHERS = "controls", "shuffled", "base", "chance", "others"
SPECIAL_OPPONENTS = (ALL_CONTROLS, OWN_SHUFFLED, BASE, CHANCE)
# Role -> modules of timm. Networks between the two, such as levit, have neither role: a study states it under `roles`.
FAMILIES: Mapping[str, tuple[str, ...]] = {
    "cnn": (
        "byobnet", "convnext", "cspnet", "densenet", "dla", "dpn", "efficientnet", "ghostnet", "hrnet", "inception_resnet_v2",
        "inception_v3", "inception_v4", "mobilenetv3", "nasnet", "nfnet", "pnasnet", "rdnet", "regnet", "res2net", "resnest", "resnet",
        "resnetv2", "rexnet", "selecsls", "senet", "sknet", "tresnet", "vgg", "vovnet", "xception", "xception_aligned",
    ),
    "vit": (
        "beit", "cait", "deit", "eva", "swin_transformer", "swin_transformer_v2", "vision_transformer", "vision_transformer_hybrid",
        "vision_transformer_relpos", "vision_transformer_sam", "xcit",
    ),
}  # fmt: skip
OF_CLAIM = ("says", "paper", "over", "min_seeds")


class MethodRole(StrictModel):
    """The methods of a study that a claim is about."""

    use: Label = Field(description="a method, by the name of its plug-in or its label")
    options: dict[str, Any] = Field(default_factory=dict, description="options that it must have")
    layer: Literal["default", "early"] = Field(
        "default",
        description="`early`: the label with `layer: early`, else those with a layer of their own; `default`: one without",
    )


def _as_role(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Role = Annotated[MethodRole, BeforeValidator(_as_role, json_schema_input_type=str | MethodRole)]
Roles = Annotated[list[Role], BeforeValidator(_as_list, json_schema_input_type=Role | list[Role])]
Metrics = Annotated[list[Label], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]


class ClaimPart(StrictModel):
    """One statistic of a claim, and the margin that its interval is compared with."""

    quantity: Quantity = Field(
        "difference",
        description="`difference`: the mean of a metric, or its difference between methods or architectures. docs/claims.md "
        "explains the others",
    )
    metric: Metrics = Field(
        default=[],
        description="a metric, by the name of its plug-in or its label; of several, each must hold; `others` (of `correlation`): all",
    )
    variant: str = Field(
        "first", description="`first`, `all` (each must hold), `each` (each counts as a case), or a variant's name"
    )
    method: Role | None = Field(None, description="a method: a name, or `{use, options, layer}`; empty: none")
    against: Roles = Field(
        default=[],
        description="methods or controls that are subtracted, one by one; also `controls` (all of them and the method's own "
        "shuffled maps), `shuffled`, `base` (of `refine`), `chance` (of agreement)",
    )
    architecture: Label | None = Field(
        None, description="a role (`cnn`, `vit`, a module of timm) or a label; empty: every architecture is a case"
    )
    against_architecture: Label | None = Field(
        None, description="a role whose mean is subtracted; `others`: all other architectures"
    )
    by_class: bool = Field(False, description="whether it must hold in every class")
    classes: list[str] = Field(default=[], description="of `error_share`: the classes that are confused")
    against_metric: Label | None = Field(
        None, description="of `correlation`: the metric whose correlation is subtracted; empty: none"
    )
    truth: Label | None = Field(
        None, description="of `correlation`: a localization metric; empty: the first truth of `meta`"
    )
    images: Images = Field("all", description="`correct`: correctly classified ones; `several`: with several objects")
    margin: float = Field(description="the difference that matters")
    side: Side = Field("above", description="the side of the margin on which the claim places the number")
    precondition: bool = Field(
        False,
        description="whether the claim is only about cases in which this part holds; it then never refutes the claim",
    )


class DeclaredClaim(StrictModel):
    """A sentence of a paper, and how a study tests it."""

    says: Line = Field(description="the sentence")
    paper: Line = Field("", description="the paper that has it")
    over: Over = Field(
        "all",
        description="in how many cases it must hold; a case is an architecture, unless architectures are compared",
    )
    min_seeds: int = Field(1, ge=1, le=1_000_000, description="with fewer seeds the claim is not testable")
    parts: list[ClaimPart] = Field(
        min_length=1, description="what must hold together. The keys of a single part stand in the claim itself"
    )

    @model_validator(mode="after")
    def _something_is_tested(self) -> "DeclaredClaim":
        if all(part.precondition for part in self.parts):
            raise ValueError("precondition: every part has it, so nothing is left to test; add a part without it")
        return self

    @model_validator(mode="before")
    @classmethod
    def _shared_keys(cls, value: Any) -> Any:
        """Move keys of parts that stand in the claim into every part."""
        if not isinstance(value, Mapping):
            return value
        own = {key: one for key, one in value.items() if key in OF_CLAIM}
        shared = {key: one for key, one in value.items() if key not in OF_CLAIM and key != "parts"}
        parts = value.get("parts", [{}])
        if isinstance(parts, list) and all(isinstance(part, Mapping) for part in parts):
            parts = [shared | dict(part) for part in parts]
            if not all("margin" in part for part in parts):
                raise ValueError("margin: there is none; state the difference that matters, such as `margin: 0.05`")
        return own | {"parts": parts}


@cache
def timm_modules() -> dict[str, str]:
    """Return network -> module of timm, from the text of its files: to import timm takes seconds."""
    spec = find_spec("timm")
    folders: Iterable[str] = spec.submodule_search_locations or () if spec else ()
    found = dict[str, str]()
    for file in (file for folder in folders for file in sorted(Path(folder, "models").glob("*.py"))):
        for name in re.findall(r"^@register_model\s*\ndef (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = file.stem
    return found
