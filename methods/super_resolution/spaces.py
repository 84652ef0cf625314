"""What an architecture is: for each layer of a network an operation and a number of bits, and what there is to choose from."""

import re
from dataclasses import dataclass
from typing import Literal

import torch

from regbench.methods.errors import ConfigError
from regbench.methods.super_resolution.convolutions import Shape

Space = Literal["rfdn", "sr"]
Catalogue = Literal["small", "released"]
Kind = Literal["head", "body", "skip", "upsample", "tail"]

Choice = tuple[str, int]
"""An operation's name and its number of bits."""
Architecture = dict[str, Choice]
"""The choice of each layer, by name. Layers of one name, as in repeated cells, have one choice."""


@dataclass(frozen=True)
class Layer:
    """A place in a network where an operation is to be chosen.

    Attributes:
        name: by which its choice is known.
        kind: which catalogue it chooses from.
        inputs, outputs: channels.
        hidden: channels between two convolutions of one operation.
        pixels: how many output pixels it has for one pixel in low resolution.
    """

    name: str
    kind: Kind
    inputs: int
    outputs: int
    hidden: int
    pixels: int = 1


_SQUARES = ("1x1", "3x3", "5x5")
_SIMPLE = tuple(f"simple_{square}" for square in _SQUARES)
_GROWTH = tuple(f"growth1_{square}" for square in _SQUARES)
_PAIRS = tuple(f"simple_{square}_grouped_2" for square in _SQUARES)
_TRIPLES = ("simple_3x3_grouped_3", "simple_5x5_grouped_3")

_RELEASED_RFDN: dict[Kind, tuple[str, ...]] = {
    "body": _SIMPLE + _GROWTH + _PAIRS,
    "skip": _SIMPLE + _GROWTH + _PAIRS,
    "upsample": _SIMPLE + _GROWTH + _PAIRS,
    "tail": _SIMPLE + _GROWTH,
}
_RELEASED_SR: dict[Kind, tuple[str, ...]] = {
    "head": ("simple_3x3", "simple_5x5", *_TRIPLES),
    "body": ("conv_5x1_1x5", "conv_3x1_1x3", "simple_3x3", "simple_5x5"),
    "skip": _SIMPLE,
    "upsample": (*_TRIPLES, "simple_3x3", "simple_5x5"),
    "tail": (*_SIMPLE, *_TRIPLES),
}
_SMALL = ("simple_1x1", "simple_3x3", "simple_5x5", "growth1_3x3")

CATALOGUES: dict[tuple[Space, Catalogue], dict[Kind, tuple[str, ...]]] = {
    ("rfdn", "released"): _RELEASED_RFDN,
    ("sr", "released"): _RELEASED_SR,
    ("rfdn", "small"): dict.fromkeys(_RELEASED_RFDN, _SMALL),
    ("sr", "small"): dict.fromkeys(_RELEASED_SR, _SMALL),
}
"""Operations to choose from, for each space: those of the released configuration, or four for all layers."""

REFERENCE: dict[Space, dict[Kind, str]] = {
    "rfdn": {"body": "simple_3x3", "skip": "simple_1x1", "upsample": "simple_3x3", "tail": "simple_3x3"},
    "sr": dict.fromkeys(_RELEASED_SR, "simple_3x3"),
}
"""The fixed architectures: RFDN's own operations, as in the released genotype, and a residual network of 3 x 3 convolutions."""


def shapes(operation: str, layer: Layer) -> list[Shape]:
    """The convolutions of an operation in a layer, in turn.

    ``simple_KxK``, also ``simple_KxK_grouped_G``: one convolution. ``growthF_KxK``: two, with F times the hidden channels
    between them. ``conv_Kx1_1xK``: one along each axis, with the hidden channels between them.

    Raises:
        ConfigError: there is no such operation.
    """
    inputs, outputs, hidden = layer.inputs, layer.outputs, layer.hidden
    if found := re.fullmatch(r"simple_(\d)x\1(?:_grouped_(\d))?", operation):
        side = int(found[1])
        return [Shape(inputs, outputs, (side, side), groups=int(found[2] or 1))]
    if found := re.fullmatch(r"growth(\d)_(\d)x\2", operation):
        between, side = int(found[1]) * hidden, int(found[2])
        return [Shape(inputs, between, (side, side)), Shape(between, outputs, (side, side))]
    if found := re.fullmatch(r"conv_(\d)x1_1x\1", operation):
        side = int(found[1])
        return [Shape(inputs, hidden, (side, 1)), Shape(hidden, outputs, (1, side))]
    raise ConfigError(f"unknown operation '{operation}'")


def cost(operation: str, layer: Layer) -> int:
    """Multiplications and additions of an operation for one pixel in low resolution."""
    return layer.pixels * sum(shape.operations for shape in shapes(operation, layer))


def fixed(layers: list[Layer], space: Space, bits: int) -> Architecture:
    """The space's reference architecture, with one number of bits."""
    return {layer.name: (REFERENCE[space][layer.kind], bits) for layer in layers}


def largest(layers: list[Layer], catalogue: dict[Kind, tuple[str, ...]], bits: int) -> Architecture:
    """The most expensive operation everywhere, with one number of bits."""
    return {layer.name: (max(catalogue[layer.kind], key=lambda name: cost(name, layer)), bits) for layer in layers}


def random(
    layers: list[Layer], catalogue: dict[Kind, tuple[str, ...]], bits: tuple[int, ...], generator: torch.Generator
) -> Architecture:
    """Any operation with any number of bits for each layer, all alike probable."""
    found: Architecture = {}
    for layer in layers:
        names = catalogue[layer.kind]
        place = int(torch.randint(len(names) * len(bits), (), generator=generator))
        found[layer.name] = (names[place // len(bits)], bits[place % len(bits)])
    return found
