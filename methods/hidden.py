"""Hidden representations: what a method shows of its network to those who watch it, and how layers are watched."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized


class Hidden(NamedTuple):
    """What a network makes of N rows that it has not been trained on.

    Attributes:
        representation: ``[N, …]``.
        inputs: what was represented ``[N, …]``.
        labels: classes ``[N]``, int64, or real targets ``[N]``; None where rows have none.
    """

    representation: Tensor
    inputs: Tensor
    labels: Tensor | None


def fixed_rows(total: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Numbers of at most ``count`` of ``total`` rows, drawn once and for all: the same in every run, ascending, int64."""
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    return order[:count].sort().values.to(device)


def frequencies(tokens: Tensor) -> Tensor:
    """How often sequences ``[N, L]``, int64, hold each of the tokens that any of them holds, ``[N, U]``, in shares of L."""
    found, places = tokens.unique(return_inverse=True)
    counts = torch.zeros(len(tokens), len(found), device=tokens.device)
    return counts.scatter_add_(1, places, torch.ones_like(places, dtype=counts.dtype)) / tokens.shape[1]


def penultimate(network: nn.Module, *inputs: Any) -> Tensor:
    """What the last layer with parameters is given when a network sees N inputs ``[N, …]``; flattened, ``[N, F]``."""
    return with_penultimate(network, *inputs)[1]


def with_penultimate(network: nn.Module, *inputs: Any) -> tuple[Any, Tensor]:
    """What a network makes of N inputs ``[N, …]``, and what its last layer with parameters is given on the way, ``[N, F]``."""
    count, seen = len(inputs[0]), dict[str, Tensor]()

    def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor) and len(given[0]) == count:
            seen["last"] = given[0]

    layers = [module for module in network.modules() if _has_parameters(module)]
    handles = [layer.register_forward_pre_hook(keep) for layer in layers]
    try:
        output = network(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return output, seen["last"].flatten(1)


class Embedding(nn.Module):
    """A network that can be asked for its hidden representation too.

    Args:
        network: inputs ``[N, …]`` to outputs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, embedded: bool = False) -> Any:
        """The network's output; ``embedded``, with what its last layer was given, ``[N, F]``."""
        return with_penultimate(self.network, x) if embedded else self.network(x)


def _has_parameters(module: nn.Module) -> bool:
    return is_parametrized(module) or any(True for _ in module.parameters(recurse=False))


@contextmanager
def watched(parts: Mapping[str, nn.Module], patterns: list[str]) -> Iterator[dict[str, Tensor]]:
    """Notes what layers give while the block runs, by their paths, as ``model.blocks.0``; of several calls, the last.

    Args:
        parts: networks by name.
        patterns: of paths, as file names have them: ``model.*``.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str, given: Any) -> None:
        if isinstance(given, Tensor):
            seen[name] = given

    handles = [
        module.register_forward_hook(lambda _module, _inputs, given, name=name: keep(name, given))
        for part, network in parts.items()
        for path, module in network.named_modules()
        if any(fnmatchcase(name := f"{part}.{path}" if path else part, pattern) for pattern in patterns)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def unnoticed(networks: list[nn.Module], device: torch.device) -> Iterator[None]:
    """Lets a block use networks as in evaluation, and leaves no trace: of modes, gradients or torch's random numbers."""
    modes = {module: module.training for network in networks for module in network.modules()}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.no_grad():
        try:
            for network in networks:
                network.eval()
            yield
        finally:
            for module, training in modes.items():
                module.training = training
