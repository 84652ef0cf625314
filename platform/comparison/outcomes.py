"""How a verdict is shown: what kind it is, and a symbol that says so without colours."""

from typing import Literal

Kind = Literal["good", "bad", "same", "open", "baseline", "none"]

BEGINNINGS: dict[Kind, tuple[str, ...]] = {
    "good": ("better", "helps"),
    "bad": ("worse", "hurts"),
    "same": ("equivalent", "identical"),
    "open": ("undecided", "no difference shown", "no effect shown", "not tested"),
    "baseline": ("baseline",),
}

SYMBOLS: dict[Kind, str] = {"good": "▲", "bad": "▼", "same": "=", "open": "?", "baseline": "●", "none": "·"}

MEANINGS: dict[Kind, str] = {
    "good": "better",
    "bad": "worse",
    "same": "equivalent or identical",
    "open": "not decided",
    "baseline": "the baseline",
    "none": "nothing to compare",
}


def kind(verdict: str) -> Kind:
    """What a verdict says; ``none`` where there was nothing to judge, such as no weights or no confirmation."""
    return next((kind for kind, words in BEGINNINGS.items() if verdict.startswith(words)), "none")


def symbol(verdict: str) -> str:
    """The symbol of a verdict's kind."""
    return SYMBOLS[kind(verdict)]
