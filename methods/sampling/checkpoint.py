"""EDM's released checkpoints: pickles of networks with their source code, read without running any of it.

A checkpoint pickles its network as calls of a function that would compile and run the source code kept beside the state. Here
all names that a pickle may call are stand-ins that keep state and do nothing, but those that make tensors of numbers.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor_v2

from regbench.methods.errors import DataError, one_line
from regbench.methods.sampling.networks import PreconditionedDenoiser, UNet
from regbench.methods.shared.data import require

FOLDER = "edm"
# What a network of this form is made with; other values mean another architecture.
FORM = {
    "model_type": "SongUNet",
    "embedding_type": "positional",
    "encoder_type": "standard",
    "decoder_type": "standard",
    "channel_mult_noise": 1,
    "channel_mult_emb": 4,
    "resample_filter": [1, 1],
    "label_dim": 0,
}


# What the network itself says of how it was made; its arguments say the rest, where they are not the defaults.
ATTRIBUTES = ("img_resolution", "img_channels", "label_dim", "sigma_data")


class _Inert(dict[Any, Any]):
    """Stands for an object of any class: takes whatever a pickle gives it, and does nothing with it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.update(state)

    def append(self, _: Any) -> None:
        """Takes an element of a list."""

    def extend(self, _: Any) -> None:
        """Takes elements of a list."""


def _state(meta: dict[str, Any]) -> dict[str, Any]:
    """In place of the function that runs a network's source code: its state."""
    return meta["state"]


def _storage(content: bytes) -> Any:
    """The numbers of a tensor."""
    return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")


# Names that make tensors and containers.
KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _state,
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return KNOWN.get((module, name), _Inert)


def read_checkpoint(name: str) -> PreconditionedDenoiser:
    """The averaged network of a checkpoint ``REGBENCH_DATA/edm/NAME``, such as ``edm-cifar10-32x32-uncond-vp.pkl``.

    Raises:
        DataError: the file is missing, damaged, or holds a network of another form: conditional, NCSN++ or ADM.
    """
    (path,) = require(FOLDER, name)
    try:
        with path.open("rb") as file:
            content = _Reader(file).load()
        network = content["ema"]
        given = dict(network["_init_kwargs"]) | {name: network[name] for name in ATTRIBUTES}
        states = {name.removeprefix("model."): tensor for name, tensor in _tensors(network)}
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise DataError(f"{path} is no checkpoint of EDM, or damaged: {error}") from None
    _require_form(path, given)
    model = UNet(
        given["img_resolution"],
        given["img_channels"],
        given.get("model_channels", 128),
        tuple(given.get("channel_mult", [1, 2, 2, 2])),
        given.get("num_blocks", 4),
        tuple(given.get("attn_resolutions", [16])),
        given.get("dropout", 0.1),
        given.get("augment_dim", 0),
    )
    # Filters of resampling are the same in all networks of this form, and not parameters of ours.
    states = {name: tensor for name, tensor in states.items() if not name.endswith("resample_filter")}
    try:
        model.load_state_dict(states)
    except RuntimeError as error:
        raise DataError(f"{path} holds a network of another form: {one_line(error)}") from None
    return PreconditionedDenoiser(model, given["sigma_data"])


def _require_form(path: Path, given: dict[str, Any]) -> None:
    """Refuses networks that ``UNet`` is not."""
    for name, expected in FORM.items():
        if (found := given.get(name, expected)) != expected:
            raise DataError(f"{path} holds a network with {name} {found}; only {expected} is known here")


def _tensors(module: dict[str, Any], prefix: str = "") -> list[tuple[str, Tensor]]:
    """Parameters and buffers of a module's state, with their names."""
    found = [
        (prefix + name, tensor.detach().float())
        for kind in ("_parameters", "_buffers")
        for name, tensor in module[kind].items()
        if tensor is not None
    ]
    for name, inner in module["_modules"].items():
        found += _tensors(inner, f"{prefix}{name}.") if inner is not None else []
    return found
