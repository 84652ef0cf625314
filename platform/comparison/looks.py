"""What an entry looks like in every plot and table: a colour and a mark that follow from its name alone.

Colours are those of Okabe and Ito and two more, told apart by colour-blind readers; marks tell apart what shares a colour. A
track's baseline is grey. Other names are hashed to one of 56 looks, the same in every report, whatever else is in it. Where two
names of one report are hashed to the same look, the one that sorts first keeps it, and the other one takes the next free look.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from regbench.platform.inventory.inventory import inventory

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#C98500", "#3C9FD6", "#7A67D8", "#A0785A")
GREY = "#7B838C"
# Vega knows no star.
STAR = "M0,-1.4L0.38,-0.43L1.4,-0.42L0.59,0.23L0.84,1.2L0,0.68L-0.84,1.2L-0.59,0.23L-1.4,-0.42L-0.38,-0.43Z"
MARKS = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    STAR,
)
# The path of each mark in a square from -1 to 1.
OUTLINES = (
    "M.8,0A.8,.8 0 1 1-.8,0A.8,.8 0 1 1 .8,0Z",
    "M-.72-.72H.72V.72H-.72Z",
    "M-.95.8H.95L0-.85Z",
    "M0-1L.75,0 0,1-.75,0Z",
    "M-.95-.8H.95L0,.85Z",
    "M-.9-.3H-.3V-.9H.3V-.3H.9V.3H.3V.9H-.3V.3H-.9Z",
    "M0-1L.28-.32 1-.31.44.17.62.88 0,.5-.62.88-.44.17-1-.31-.28-.32Z",
)
# Of many, the one with which methods of a ready-made suite most seldom share a colour.
SALT = 9768


class Look(NamedTuple):
    """A colour, and a mark: the name of one of Vega's symbols, or the path of one."""

    colour: str
    mark: str


Looks = Mapping[str, Look]


def looks(entries: Iterable[str]) -> dict[str, Look]:
    """The look of every entry; two entries have the same only where there are more of them than looks."""
    names = sorted(set(entries))
    taken: dict[Look, str] = {}
    for name in names:
        taken.setdefault(_in_order(name)[0], name)
    own = {name: look for look, name in taken.items()}
    # Only who found its look taken moves on: nobody else's changes by that.
    for name in names:
        if name not in own:
            order = _in_order(name)
            own[name] = next((look for look in order if look not in taken), order[0])
            taken.setdefault(own[name], name)
    return {name: own[name] for name in names}


def _in_order(entry: str) -> list[Look]:
    """All looks that an entry may have, its own one first."""
    # In a comparison of several sweeps, a label ends with the sweep's name.
    name = entry.partition(" (")[0]
    if _is_baseline(name):
        return [Look(GREY, mark) for mark in MARKS]
    choices = [Look(colour, mark) for mark in MARKS for colour in COLOURS]
    first = int.from_bytes(hashlib.blake2b(f"{SALT}/{name}".encode(), digest_size=4).digest()) % len(choices)
    return choices[first:] + choices[:first]


def outline(look: Look) -> str:
    """The path of a look's mark, in a square from -1 to 1."""
    return OUTLINES[MARKS.index(look.mark)]


def _is_baseline(name: str) -> bool:
    # The inventory knows without PyTorch, which whoever exports to MLflow does without.
    return any(track.baseline == name for track in inventory().tracks.values())
