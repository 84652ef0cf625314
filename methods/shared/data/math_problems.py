"""Mathematical problems in words with answers that can be verified, in the public sets' own forms.

A set is a folder with files of JSON lines, JSON or Parquet. A part, ``train`` or ``test``, has those whose name, or that of a
folder of theirs, begins with it: ``train.jsonl``, ``test/algebra/1.json``, ``main/train-00000-of-00001.parquet``.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import TensorDataset

from regbench.methods.errors import DataError, one_line
from regbench.methods.shared.data import Data, data_root, dataset, require
from regbench.methods.shared.data.texts import text_rows
from regbench.methods.shared.reinforcement.answers import final_answer

# Bytes; longer problems are left out, as the papers leave out those that are longer than their prompts.
LONGEST, LONGEST_ANSWER = 4096, 256
# Of the problems for training, those that tune: a twentieth, at most 500.
HELD_OUT, MOST_HELD_OUT = 0.05, 500
KINDS = ("*.jsonl", "*.json", "*.parquet")
PARTS = ("train", "test")


def math_data(name: str, folder: str) -> Data:
    """Problems and answers as bytes ``[N, L + A]``, uint8; ``meta["text"]`` is L. Validation rows are of the training part.

    Raises:
        DataError: a part has no files, or they hold no problems of a known form.
    """
    parts = {part: list(problems(folder, part)) for part in PARTS}
    text = max(len(problem.encode()) for rows in parts.values() for problem, _ in rows)
    answer = max(len(found.encode()) for rows in parts.values() for _, found in rows)

    def rows(pairs: Iterable[tuple[str, str]]) -> Tensor:
        asked, found = zip(*pairs, strict=True)
        return text_rows([a + "\0" * (text - len(a.encode())) + b for a, b in zip(asked, found, strict=True)], text + answer)

    train, test = rows(parts["train"]), rows(parts["test"])
    order = np.random.default_rng(0).permutation(len(train))
    held = max(1, min(MOST_HELD_OUT, round(HELD_OUT * len(train))))
    return Data(
        name,
        train=TensorDataset(train[np.sort(order[held:])]),
        validation=TensorDataset(train[np.sort(order[:held])]),
        test=TensorDataset(test),
        meta={"environment": "texts", "text": text},
    )


def problems(folder: str, part: str) -> Iterator[tuple[str, str]]:
    """Problems and answers of a part, each problem once, in the order of the files' names.

    Raises:
        DataError: there are no files, or one of them holds no problems of a known form.
    """
    known = set()
    for path in _files(folder, part):
        try:
            for row in _rows(path):
                problem, answer = _pair(row)
                if problem in known or len(problem.encode()) > LONGEST or len(answer.encode()) > LONGEST_ANSWER:
                    continue
                known.add(problem)
                yield problem, answer
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise DataError(f"data set '{folder}': {path.name} holds no problems of a known form: {one_line(error)}") from None
    if not known:
        raise DataError(f"data set '{folder}': its files of {part} hold no problems")


def _files(folder: str, part: str) -> list[Path]:
    root = data_root()
    base = root / folder if root else None
    found = [path for kind in KINDS for path in (base.rglob(kind) if base else [])]
    parts = {path: _parts_of(path.relative_to(base).parts) for path in found} if base else {}
    if both := [path for path, named in parts.items() if len(named) > 1]:
        raise DataError(f"data set '{folder}': {both[0].relative_to(base or '')} begins with both train and test: rename it")
    return sorted(path for path, named in parts.items() if part in named) or require(folder, f"{part}.jsonl")


def _parts_of(names: Iterable[str]) -> set[str]:
    return {part for part in PARTS for name in names if name.startswith(part)}


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a file as mappings."""
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            yield from (json.loads(line) for line in lines if line.strip())
    elif path.suffix == ".json":
        found = json.loads(path.read_text(encoding="utf-8"))
        yield from found if isinstance(found, list) else [found]
    else:
        from pyarrow import parquet

        for batch in parquet.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()


def _pair(row: Mapping[str, Any]) -> tuple[str, str]:
    """A row's problem and answer, whichever form it has.

    ``prompt`` and ``reward_model`` (verl: DAPO-Math-17k, OpenR1-Math-46k), ``question`` with an answer after ``####`` (GSM8K),
    ``problem`` with an ``answer`` (DeepScaleR, AIME, MATH-500), or with a ``solution`` that boxes it (MATH).
    """
    if "reward_model" in row:
        asked = [message["content"] for message in row["prompt"] if message["role"] == "user"]
        return str(asked[-1]).strip(), str(row["reward_model"]["ground_truth"])
    if "question" in row:
        problem, answer = row["question"], final_answer(row["answer"])
    else:
        problem = row["problem"]
        answer = str(row["answer"]) if row.get("answer") is not None else final_answer(row["solution"])
    if answer is None:
        raise ValueError(f"no final answer in the solution of '{str(problem)[:40]}…'")
    return str(problem).strip(), answer


@dataset("gsm8k", help="GSM8K: 7,473 problems of grade school, 1,319 for the test (train.jsonl, test.jsonl)", folder="gsm8k")
def gsm8k() -> Data:
    """Official parts."""
    return math_data("gsm8k", "gsm8k")


@dataset(
    "competition_math",
    help="MATH: 7,500 problems of competitions, 5,000 for the test (train/*/*.json, test/*/*.json)",
    folder="MATH",
)
def competition_math() -> Data:
    """Official parts."""
    return math_data("competition_math", "MATH")


@dataset(
    "deepscaler",
    help="DeepScaleR: 40,000 problems of competitions (train/deepscaler.json); tested on what lies in test/, such as AIME 2024",
    folder="deepscaler",
)
def deepscaler() -> Data:
    """The set has no test part of its own."""
    return math_data("deepscaler", "deepscaler")


@dataset(
    "dapo_math",
    help="DAPO-Math-17k (train/dapo-math-17k.parquet); tested on what lies in test/, such as AIME 2024 and 2025",
    folder="dapo-math-17k",
)
def dapo_math() -> Data:
    """The public file repeats its problems, which are taken once. Prompts hold their own instruction."""
    return math_data("dapo_math", "dapo-math-17k")


@dataset(
    "openr1_math",
    help="OpenR1-Math-46k (train/*.parquet, as LUFFY chose it); tested on what lies in test/, such as AIME and MATH-500",
    folder="openr1-math-46k",
)
def openr1_math() -> Data:
    """The set has no test part of its own."""
    return math_data("openr1_math", "openr1-math-46k")
