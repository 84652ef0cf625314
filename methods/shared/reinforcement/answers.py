"""Final answers of worked solutions: where they are, and when two are the same."""

import re
from fractions import Fraction

# What a response may give its answer by where nothing is boxed: GSM8K's own form, and the one that DAPO's prompts ask for.
MARKS = (r"####\s*(.+)", r"(?i:answer)\s*(?::|is)\s*(.+)")

# Around or between the parts of an answer, and without meaning.
DELIMITERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
NOTHING = ("\\left", "\\right", "\\!", "\\,", "\\;", "\\:", "\\ ", "^\\circ", "^{\\circ}", "\\%", "%", "\\$", "$", "~")
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)")
# a/b and \frac{a}{b} of whole numbers.
RATIOS = (re.compile(r"([-+]?)(\d+)/(\d+)"), re.compile(r"([-+]?)\\frac{(\d+)}{(\d+)}"))


def final_answer(text: str) -> str | None:
    r"""What a solution ends with: the last ``\boxed{…}``, else what follows the last ``####`` or ``Answer:``; or None."""
    found = list(re.finditer(r"\\(?:boxed|fbox)\s*(?={|\s\S)", text))
    if found:
        return _boxed(text[found[-1].end() :])
    for mark in MARKS:
        if marked := re.findall(mark, text):
            return str(marked[-1]).strip() or None
    return None


def _boxed(text: str) -> str | None:
    """The content of the braces that a text begins with, or its first word; None where they are not closed."""
    if not text.startswith("{"):
        return text.split()[0]
    depth = 0
    for place, letter in enumerate(text):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if not depth:
            return text[1:place].strip() or None
    return None


def canonical(answer: str) -> str:
    r"""One form for answers that are the same in other words, by which they are compared.

    Delimiters, spaces, units in ``\text{…}``, degrees, per cent, commas of thousands and ``x =`` go; ``\dfrac`` is ``\frac``;
    whole numbers, decimals and their ratios become one reduced fraction, so that 0.5, 1/2 and ``\frac12`` are the same.
    """
    text = answer.strip().rstrip(".").strip()
    for begin, end in DELIMITERS:
        if text.startswith(begin) and text.endswith(end) and len(text) > len(begin) + len(end):
            text = text[len(begin) : -len(end)].strip()
    for part in NOTHING:
        text = text.replace(part, "")
    text = re.sub(r"\\[dt]frac", r"\\frac", text)
    text = re.sub(r"\\(?:text|mathrm|textbf|mbox)\s*{([^{}]*)}", lambda found: _word(found, text), text)
    text = re.sub(r"\\frac\s*(\w)\s*(\w)(?!\w)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*(\w)", r"\\sqrt{\1}", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\s+", "", text)
    text = re.sub(r"^[a-zA-Z]=", "", text).rstrip(".")
    return _number(text)


def _word(found: re.Match[str], whole: str) -> str:
    """The word in a command for text where it is all of the answer; a unit beside an answer goes."""
    return found.group(1) if found.group(0).strip() == whole.strip() else ""


def _number(text: str) -> str:
    """The reduced fraction that a text is, or the text."""
    if NUMBER.fullmatch(text):
        return str(Fraction(text))
    for ratio in RATIOS:
        if (found := ratio.fullmatch(text)) and int(found.group(3)):
            sign = -1 if found.group(1) == "-" else 1
            return str(sign * Fraction(int(found.group(2)), int(found.group(3))))
    return text
