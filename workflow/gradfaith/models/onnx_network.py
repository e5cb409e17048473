"""Run the network of an ONNX file as a black box: images in, outputs out, no layers and no gradients.

The bytes of the file are a buffer of the module, so a model of a study contains its network: its weights file has them, with
their SHA-256 in the card, and needs the original file no more. onnxruntime is an optional package (`gradfaith[onnx]`). It runs
on the CPU with as many threads as torch; on another device images are copied forth and outputs back. A file that was exported
for a fixed number of images is run in pieces of that number, the last one filled up.

The file must be complete: weights in a second file beside it would not be part of the model.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradfaith.errors import MissingPackage, ModelUnusable

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_BUFFER = "file"


class OnnxNetwork(nn.Module):
    """The network of an ONNX file: (n, channels, height, width) to (n, outputs)."""

    black_box = True
    file: Tensor

    def __init__(self, output: str = "", content: bytes = b"") -> None:
        """`output`: the output to read, if there are several. `content`: of the file; a model's weights can bring it later."""
        super().__init__()
        self._output, self._session = output, None
        self.register_buffer(
            _BUFFER, torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0)
        )

    @classmethod
    def read(cls, path: Path, output: str = "") -> "OnnxNetwork":
        """Return the network of a file, and check that it takes images and returns one tensor."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _unusable(path, f"it cannot be read: {error.strerror}", "Correct `onnx` in the study.") from error
        network = cls(output, content)
        try:
            session = network._open()
        except MissingPackage:
            raise
        except Exception as error:  # onnxruntime raises classes of its own
            fix = "Export it again as one file: `torch.onnx.export(..., external_data=False)`."
            raise _unusable(path, f"onnxruntime cannot open it: {_first_line(error)}", fix) from error
        _check_interface(session, path, output)
        return network

    def forward(self, images: Tensor) -> Tensor:  # (n, c, h, w) -> (n, outputs)
        """Return the outputs, on the device of the images."""
        session = self._open()
        entry = session.get_inputs()[0]
        rows = images.detach().float().cpu().numpy().astype(_TYPES[entry.type], copy=False)
        fixed = entry.shape[0] if isinstance(entry.shape[0], int) else len(rows)
        found = [self._run(session, rows[start : start + fixed], fixed) for start in range(0, len(rows), fixed)]
        return torch.from_numpy(np.concatenate(found).astype(np.float32, copy=False)).to(images.device)

    def __deepcopy__(self, _memo: object) -> "OnnxNetwork":
        return self  # nothing of it changes, and a session cannot be copied

    def _run(self, session: Any, rows: Any, fixed: int) -> Any:
        filled = np.concatenate([rows, np.repeat(rows[-1:], fixed - len(rows), axis=0)]) if len(rows) < fixed else rows
        try:
            (outputs,) = session.run(
                [self._output or session.get_outputs()[0].name], {session.get_inputs()[0].name: filled}
            )
        except Exception as error:  # onnxruntime raises classes of its own; callers expect torch's
            raise RuntimeError(_first_line(error)) from error
        return outputs[: len(rows)]

    def _open(self) -> Any:
        if self._session is None:
            runtime = _import_onnxruntime()
            options = runtime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
            content = self.file.cpu().numpy().tobytes()
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return self._session

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *more: Any) -> None:
        """Take the file of a model, whatever its length."""
        if (content := state_dict.get(prefix + _BUFFER)) is not None:
            self.file, self._session = torch.empty_like(content), None
        super()._load_from_state_dict(state_dict, prefix, *more)


def _import_onnxruntime() -> Any:
    try:
        return import_module("onnxruntime")
    except ImportError as error:
        raise MissingPackage(
            problem="an architecture is an ONNX file, but the package onnxruntime is not installed.",
            reason="It is optional, because only such architectures need it.",
            fix='Install it: `pip install "gradfaith[onnx]"`, or `pip install onnxruntime`.',
        ) from error


def _check_interface(session: Any, path: Path, output: str) -> None:
    entries, exits = session.get_inputs(), [one.name for one in session.get_outputs()]
    if len(entries) != 1 or len(entries[0].shape) != 4 or entries[0].type not in _TYPES:
        found = ", ".join(f"{one.name} {one.shape} {one.type}" for one in entries)
        raise _unusable(
            path,
            f"its inputs are {found}",
            "Export a network with one input: images (n, channels, height, width) of floating-point numbers.",
        )
    if output not in (*exits, "") or (not output and len(exits) > 1):
        told = f'it has no output "{output}"' if output else "it has several outputs"
        raise _unusable(
            path, f"{told}; its outputs are {', '.join(exits)}", "Set `options: {output: NAME}` of this architecture."
        )


def _unusable(path: Path, cause: str, fix: str) -> ModelUnusable:
    return ModelUnusable(
        problem=f"{path} is not usable as a network: {cause}.",
        reason="An architecture's `onnx` is a file with one complete network that takes normalised images and returns logits.",
        fix=fix,
    )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
