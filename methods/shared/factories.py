"""Networks that are not the product's own: from a plugin, any importable module, timm, torchvision, transformers.

A factory is a callable ``(shape, classes, **settings) -> nn.Module``: the shape of one input, the number of outputs, keyword
settings. The network maps inputs ``[B, *shape]`` to outputs ``[B, classes]``.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

import torch
from pydantic import AfterValidator
from torch import nn

from regbench.methods import plugins
from regbench.methods.errors import ConfigError, SurroundingsError, nearest, one_line
from regbench.methods.hidden import unnoticed
from regbench.methods.shared.extras import library
from regbench.methods.shared.language_models import text_classifier

Factory = Callable[..., nn.Module]
F = TypeVar("F", bound=Factory)

MLP = "mlp"

_registered: dict[str, Factory] = {}
_own = {MLP}


def reserve(*names: str) -> None:
    """Keeps names of the product's own architectures from being registered."""
    _own.update(names)


def architecture(name: str) -> Callable[[F], F]:
    """Registers a factory under a name, for ``architecture: NAME``.

    Args:
        name: how suites call it.

    Raises:
        ConfigError: the name is taken.
    """

    def register(factory: F) -> F:
        # It reserves its names when it is imported, and imports this.
        importlib.import_module("regbench.methods.classification.architectures")
        if name in _own:
            raise ConfigError(f"regbench has an architecture called '{name}': give yours another name")
        if name in _registered:
            raise ConfigError(f"two architectures are called '{name}': rename one")
        _registered[name] = factory
        return factory

    return register


def forget(name: str) -> None:
    """Takes a factory's name back."""
    del _registered[name]


def require_known(name: str, own: Mapping[str, Any] | tuple[str, ...]) -> str:
    """The name of an architecture, if there is one of that name.

    Args:
        name: one of ``own``, registered by a plugin, or ``module:factory``, ``timm:NAME``, ``torchvision:NAME``, ``hf:FOLDER``.
        own: the names of the product's own.

    Raises:
        ValueError: there is none.
    """
    if name in own or ":" in name:
        return name
    plugins.modules()
    if name not in _registered:
        hint = nearest(name, [*own, *_registered])
        raise ValueError(f"unknown architecture '{name}'; {hint} Or name your own: module:factory, timm:NAME, torchvision:NAME")
    return name


def is_foreign(name: str) -> bool:
    """Whether an architecture is not the product's own, as far as plugins have been imported."""
    return ":" in name or name in _registered


Architecture = Annotated[str, AfterValidator(lambda name: require_known(name, (MLP,)))]
"""The architecture of a track whose own networks are multilayer perceptrons alone."""


def make(
    name: str, shape: tuple[int, ...], classes: int, settings: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> nn.Module:
    """A network by a factory's name, checked on two inputs of ones.

    Args:
        name: as ``require_known`` takes it, but none of the product's own.
        shape: of one input.
        classes: outputs of one input.
        settings: keyword settings of the factory.
        dtype: of inputs; int64 of tokens.

    Raises:
        ConfigError: there is no such factory, it refuses, returns no module, or a network whose output has another shape.
        SurroundingsError: its library is not installed.
    """
    factory = _factory(name)
    try:
        network = factory(shape=tuple(shape), classes=classes, **settings)
    except (ConfigError, SurroundingsError):
        raise
    except Exception as error:
        raise ConfigError(f"architecture {name}: {type(error).__name__}: {one_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"architecture {name} returned {type(network).__name__}, not a torch.nn.Module")
    _require_outputs(name, network, tuple(shape), classes, dtype)
    return network


def _require_outputs(name: str, network: nn.Module, shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> None:
    """Refuses a network that gives no logits, in evaluation or, as some with outputs beside the last one, in training."""
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    ones = torch.ones(2, *shape, dtype=dtype, device=device)

    def train(x: torch.Tensor) -> Any:
        network.train()
        # Statistics of batch normalization are buffers: copies take what training makes of them.
        return torch.func.functional_call(network, {key: buffer.clone() for key, buffer in network.named_buffers()}, x)

    with unnoticed([network], device):
        for use, when in ((network, ""), (train, " in training")):
            try:
                output = use(ones)
            except Exception as error:
                raise ConfigError(
                    f"architecture {name} cannot take inputs [2, {_sizes(shape)}]{when}: {one_line(error)}"
                ) from error
            found = _sizes(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            if found != f"2, {classes}":
                raise ConfigError(
                    f"architecture {name} maps inputs [2, {_sizes(shape)}] to [{found}]{when}; logits must be [2, {classes}]: "
                    "use the arguments shape and classes that the factory is given"
                )


def _sizes(shape: Any) -> str:
    return ", ".join(map(str, shape))


def _factory(name: str) -> Factory:
    if name in _registered:
        return _registered[name]
    module, _, attribute = name.partition(":")
    if of_library := {"hf": text_classifier, "timm": _of_timm, "torchvision": _of_torchvision}.get(module):
        return of_library(attribute)
    named = {plugin.name: loaded for plugin, loaded in zip(plugins.active().values(), plugins.modules(), strict=True)}
    try:
        found = getattr(named.get(module) or importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        raise SurroundingsError(
            f"architecture {name}: there is no module {error.name} here; name its file under `plugins`, or install it"
        ) from None
    if not callable(found):
        raise ConfigError(f"architecture {name}: {module} has no function '{attribute}'")
    return found


def _of_timm(name: str) -> Factory:
    timm = library("timm", "timm", f"architecture timm:{name}")
    if not timm.is_model(name):
        raise ConfigError(f"timm has no model '{name}'; {nearest(name, timm.list_models())}")

    def build(*, shape: tuple[int, ...], classes: int, **settings: Any) -> nn.Module:
        _require_images(f"timm:{name}", shape)
        return timm.create_model(name, num_classes=classes, in_chans=shape[0], **settings)

    return build


def _of_torchvision(name: str) -> Factory:
    models = library("torchvision.models", "vision", f"architecture torchvision:{name}")
    # Those that classify: others find objects or parts of images.
    if name not in (known := models.list_models(module=models)):
        raise ConfigError(f"torchvision has no classifier '{name}'; {nearest(name, known)}")

    def build(*, shape: tuple[int, ...], classes: int, **settings: Any) -> nn.Module:
        _require_images(f"torchvision:{name}", shape)
        if shape[0] != 3:
            raise ConfigError(f"architecture torchvision:{name} needs 3 channels, not {shape[0]}: take one of timm")
        return models.get_model(name, num_classes=classes, **settings)

    return build


def _require_images(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise ConfigError(f"architecture {name} needs images, not inputs of shape {shape}")


def takes(name: str, argument: str) -> bool:
    """Whether a factory has a keyword argument of that name of its own."""
    return argument in inspect.signature(_factory(name)).parameters
