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
from regbench.methods.errors import ConfigError, SurroundingsError, nearest
from regbench.methods.hidden import unnoticed
from regbench.methods.shared.language_models import text_classifier

Factory = Callable[..., nn.Module]
F = TypeVar("F", bound=Factory)

MLP = "mlp"

_registered: dict[str, Factory] = {}
# Libraries of networks: what their names begin with, and the extra that brings them.
LIBRARIES = {"timm": "timm", "torchvision": "vision"}


def architecture(name: str) -> Callable[[F], F]:
    """Registers a factory under a name, for ``architecture: NAME``.

    Args:
        name: how suites call it.

    Raises:
        ConfigError: the name is taken.
    """

    def register(factory: F) -> F:
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
        raise ConfigError(f"architecture {name}: {type(error).__name__}: {error}") from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"architecture {name} returned {type(network).__name__}, not a torch.nn.Module")
    _require_outputs(name, network, tuple(shape), classes, dtype)
    return network


def _require_outputs(name: str, network: nn.Module, shape: tuple[int, ...], classes: int, dtype: torch.dtype) -> None:
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    with unnoticed([network], device):
        try:
            output = network(torch.ones(2, *shape, dtype=dtype, device=device))
        except Exception as error:
            raise ConfigError(f"architecture {name} cannot take inputs [2, {_sizes(shape)}]: {error}") from error
    found = _sizes(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if found != f"2, {classes}":
        raise ConfigError(
            f"architecture {name} maps inputs [2, {_sizes(shape)}] to [{found}]; logits must be [2, {classes}]: use the "
            "arguments shape and classes that the factory is given"
        )


def _sizes(shape: Any) -> str:
    return ", ".join(map(str, shape))


def _factory(name: str) -> Factory:
    if name in _registered:
        return _registered[name]
    module, _, attribute = name.partition(":")
    if module == "hf":
        return text_classifier(attribute)
    if module in LIBRARIES:
        return _of_library(module, attribute)
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


def _of_library(library: str, name: str) -> Factory:
    try:
        found = importlib.import_module("torchvision.models" if library == "torchvision" else library)
    except ModuleNotFoundError:
        raise SurroundingsError(
            f"architecture {library}:{name} needs {library}: pip install 'regbench[{LIBRARIES[library]}]'"
        ) from None
    known = found.list_models()
    if name not in known:
        raise ConfigError(f"{library} has no model '{name}'; {nearest(name, known)}")

    def build(*, shape: tuple[int, ...], classes: int, **settings: Any) -> nn.Module:
        if len(shape) != 3:
            raise ConfigError(f"architecture {library}:{name} needs images, not inputs of shape {shape}")
        if library == "timm":
            return found.create_model(name, num_classes=classes, in_chans=shape[0], **settings)
        if shape[0] != 3:
            raise ConfigError(f"architecture {library}:{name} needs 3 channels, not {shape[0]}: take timm:{name}")
        return found.get_model(name, num_classes=classes, **settings)

    return build


def takes(name: str, argument: str) -> bool:
    """Whether a factory has a keyword argument of that name of its own."""
    return argument in inspect.signature(_factory(name)).parameters
