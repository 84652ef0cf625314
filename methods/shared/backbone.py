"""Networks that were trained before: started from a file, with a backbone that learns slowly or not at all."""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from regbench.methods.errors import ConfigError


def head(network: nn.Module) -> nn.Module:
    """The last module of a network, in the order of registration, that has parameters of its own: its classifier.

    Raises:
        ConfigError: no module has any.
    """
    found = [module for module in network.modules() if any(True for _ in module.parameters(recurse=False))]
    if not found:
        raise ConfigError("the network has no parameters to train")
    return found[-1]


def load_weights(network: nn.Module, file: str) -> None:
    """Starts a network from a ``state_dict``; its head, too, where the shapes fit.

    Args:
        network: any.
        file: what ``torch.save(network.state_dict(), file)`` wrote, or a file of safetensors.

    Raises:
        ConfigError: the file cannot be read, or holds other layers.
    """
    path = Path(file).expanduser()
    try:
        saved = _read(path)
    except FileNotFoundError:
        raise ConfigError(f"initial_weights: there is no file {path}") from None
    except Exception as error:
        raise ConfigError(f"initial_weights: {path} holds no state_dict that can be read: {error}") from None
    own, last = network.state_dict(), head(network)
    name = next(name for name, module in network.named_modules() if module is last)
    of_head = {f"{name}.{key}" if name else key for key in last.state_dict()}
    fitting = {key: value for key, value in saved.items() if key in own and value.shape == own[key].shape}
    if missing := [key for key in own if key not in fitting and key not in of_head]:
        what = "has another shape" if missing[0] in saved else "lacks a tensor of the network"
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ConfigError(f"initial_weights: {path.name} {what}: {missing[0]}{more}")
    network.load_state_dict(own | fitting)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    saved = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(saved, dict) or not all(isinstance(value, torch.Tensor) for value in saved.values()):
        raise ValueError("it is no mapping of names to tensors")
    return saved


def freeze(network: nn.Module) -> None:
    """Keeps all of a network but its head as it is: no gradients, and batch normalization with the statistics that it has."""
    kept = {id(parameter) for parameter in head(network).parameters(recurse=False)}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in kept)
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module is not head(network):
            # Each epoch puts the whole network into training mode.
            module.eval()
            module.train = lambda mode=True, module=module: module  # type: ignore[method-assign,misc]


def split_groups(groups: list[dict[str, Any]], network: nn.Module, rate: float) -> list[dict[str, Any]]:
    """Parameter groups of an optimizer in which the backbone has a learning rate of its own, relative to the head's.

    Args:
        groups: as the method has them; one that has a ``rate`` keeps it.
        network: whose parameters they are.
        rate: of the backbone; 1: nothing is split.
    """
    if rate == 1:
        return groups
    last = {id(parameter) for parameter in head(network).parameters()}
    found = []
    for group in groups:
        if "rate" in group:
            found.append(group)
            continue
        parts = {1.0: [p for p in group["params"] if id(p) in last], rate: [p for p in group["params"] if id(p) not in last]}
        found += [group | {"params": part, "rate": factor} for factor, part in parts.items() if part]
    return found
