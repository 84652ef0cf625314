"""Which rows train, which validate and which test."""

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data.files.rows import Rows, texts
from regbench.methods.shared.data.files.spec import SPLIT_NAMES, SPLITS, FileData, Shares
from regbench.methods.shared.data.files.targets import Target

# Where validation rows are drawn from training rows that others have chosen, they are the same ones in every run.
FIXED_SEED = 0


def split_rows(rows: Rows, spec: FileData, target: Target, seed: int) -> tuple[dict[str, np.ndarray], bool]:
    """The rows of ``train``, ``validation`` and ``test``, and whether all of them were drawn.

    Args:
        rows: the rows.
        spec: says by what they are split.
        target: classes are in all splits alike, nearly.
        seed: the number of the split.

    Raises:
        DataError: there are too few rows, of a class or in all, or a column does not say what it should.
    """
    shares = spec.split or Shares()
    given = dict(rows.given) or (by_column(rows, spec.split_column) if spec.split_column else {})
    if given:
        if "validation" not in given:
            count = max(1, round(shares.validation * len(given["train"])))
            given["train"], given["validation"] = _parted(rows, target, given["train"], count, FIXED_SEED)
        return {split: given[split] for split in SPLITS}, False
    if spec.group:
        return by_groups(rows, spec.group, target, shares, seed), True
    held = {split: max(1, round(share * len(rows))) for split, share in shares.model_dump().items()}
    rest, test = _parted(rows, target, np.arange(len(rows)), held["test"], seed)
    train, validation = _parted(rows, target, rest, held["validation"], seed)
    return {"train": train, "validation": validation, "test": test}, True


def _parted(rows: Rows, target: Target, places: np.ndarray, held: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Places that are left, and so many that are held out, stratified where there are classes."""
    from sklearn.model_selection import train_test_split

    labels = target.values[places] if target.classes is not None else None
    if labels is not None and target.classes is not None:
        numbers, counts = np.unique(labels, return_counts=True)
        if counts.min() < 2:
            few = target.classes[numbers[counts.argmin()]]
            real = ", or add `task: regression`" if target.numeric else ""
            raise DataError(
                f"class '{few}' has too few rows in {rows.label} to be in each split: it needs three or more; leave it out, "
                f"join it with another, give the splits by split_column{real}"
            )
    try:
        left, out = train_test_split(places, test_size=held, stratify=labels, random_state=seed)
    except ValueError:
        classes = f" of {len(target.classes)} classes" if target.classes is not None else ""
        raise DataError(f"{rows.label} has {len(rows)} rows{classes}: too few to hold out {held} of {len(places)}") from None
    return left, out


def by_column(rows: Rows, name: str) -> dict[str, np.ndarray]:
    """The rows of each split that a column names; ``validation`` may be left out.

    Raises:
        DataError: a value is none of the names, or no row is ``train`` or ``test``.
    """
    said = texts(rows.complete(name, "split_column"))
    unknown = np.array([value.lower() not in SPLIT_NAMES for value in said])
    if unknown.any():
        row = int(unknown.argmax())
        raise DataError(f"split_column '{name}' says '{said[row]}' in {rows.where(row)}; it may say train, validation or test")
    names = np.array([SPLIT_NAMES[value.lower()] for value in said])
    found = {split: np.flatnonzero(names == split) for split in SPLITS if (names == split).any()}
    for split in ("train", "test"):
        if split not in found:
            raise DataError(f"split_column '{name}' of {rows.label} says {split} in no row")
    return found


def by_groups(rows: Rows, name: str, target: Target, shares: Shares, seed: int) -> dict[str, np.ndarray]:
    """Splits that hold whole groups: one after the other, in random order, to the split that lacks most of its classes.

    A group goes where half of it has room, or else where there is most; the last ones to splits that have none yet. Shares and
    the mixture of classes come out the nearer, the more groups there are and the smaller.

    Raises:
        DataError: there are fewer than three groups.
    """
    values = rows.complete(name, "group").combine_chunks().dictionary_encode()
    groups = np.asarray(values.indices)
    size = len(values.dictionary)
    if size < len(SPLITS):
        raise DataError(f"group '{name}' of {rows.label} has {size} different values: three splits need three or more")
    labels = target.values if target.classes is not None else np.zeros(len(rows), np.int64)
    counts = np.zeros((size, labels.max() + 1))
    np.add.at(counts, (groups, labels), 1)
    wanted = np.array([1 - shares.validation - shares.test, shares.validation, shares.test])
    lacking = np.outer(wanted, counts.sum(0))
    goal = np.maximum(lacking, 1)
    split_of = np.full(size, -1)
    for place, group in enumerate(np.random.default_rng(seed).permutation(size)):
        empty = [split for split in range(len(SPLITS)) if split not in split_of]
        room = lacking.sum(1)
        fits = room >= counts[group].sum() / 2
        if size - place <= len(empty):
            chosen = empty[0]
        elif fits.any():
            chosen = int(np.where(fits, lacking / goal @ counts[group], -np.inf).argmax())
        else:
            chosen = int(room.argmax())
        split_of[group] = chosen
        lacking[chosen] -= counts[group]
    return {split: np.flatnonzero(split_of[groups] == number) for number, split in enumerate(SPLITS)}
