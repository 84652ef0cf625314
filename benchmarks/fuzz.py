"""Mutates suites and the folders of sweeps, and looks how the commands take it.

A case is a suite with one to three mutations (types, notations, ranges, names, keys, the file's text), or the folder of a
sweep, complete or interrupted, in which files are cut, emptied, swapped, edited, lost, or joined by others. Each command either
does its work and exits with 0, or says in one line what is wrong and exits with another status:

- a suite that the dry run takes runs to its end, unless its trials fail; one that it refuses is refused by ``sweep``, and
  nothing is written;
- after a folder was mutated, ``status`` of all sweeps still works, and ``resume`` either completes the sweep or refuses.

A traceback, a hang, or success without its work is a fault, printed with the number of its case.

    python benchmarks/fuzz.py --cases 2000

writes ``benchmarks/results/fuzz.csv``: cases by kind and outcome. ``--seed N --cases 1`` repeats one.
"""

import argparse
import contextlib
import copy
import csv
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from rich.progress import track

from regbench.methods.errors import RegbenchError
from regbench.platform.cli import main as command_line
from regbench.platform.records.records import Records
from regbench.platform.records.storage import Storage
from regbench.platform.status import SweepStatus

RESULTS = Path(__file__).parent / "results" / "fuzz.csv"
SUITE: dict[str, Any] = {
    "name": "fuzzed",
    "methods": {"label_smoothing": {"space": {"smoothing": {"low": 0.05, "high": 0.3}}}},
    "data": ["digits_small"],
    "settings": {"epochs": 1, "batch_size": 64},
    "trials": 2,
    "sampler": {"name": "random"},
    "scheduler": {"name": "none"},
    "execution": "inline",
    "confirm": {"seeds": 1, "first_seed": 1000},
    "objectives": ["accuracy"],
    "seed": 3,
    "retries": 0,
}
# The same with conditions, odds, grids on a log scale and starting points.
RICH: dict[str, Any] = SUITE | {
    "methods": {"label_smoothing": {"space": {"smoothing": {"low": 0.05, "high": 0.3}}}},
    "space": {
        "only": ["learning_rate", "optimizer", "gradient_clip"],
        "optimizer": {"choices": ["sgd", "adam"], "weights": [1, 2]},
        "gradient_clip": {"low": 0.5, "high": 2.0, "when": {"optimizer": "adam"}},
        "learning_rate": {"low": 0.01, "high": 0.1, "log": True, "step": 0.01},
    },
    "start": [{"learning_rate": 0.02, "optimizer": "adam", "gradient_clip": 1.0}],
    "sampler": {"name": "tpe", "startup": 1},
}
# What people write by mistake, in place of anything.
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 3.5, -0.5, 1e-9, 1e18, 10**19, 2**63, float("inf"), float("nan")),
    *("", " ", "1", "1.0e1", "-.5", "32", "true", "none", "2020-01-01", "0x10", "1_000", "a: b", "x" * 300, "ä é", "💥"),
    *("digits", "label_smoothing", "cross_entropy", "label_smothing", "accuracy", "tpe", "asha", "tune"),
    *("[red]", "[/x]", "a/b", "../x", "%s {0} $HOME `ls`", "!!python/object:os.system"),
    *([], {}, [1], ["a", "a"], [[1]], [None], ["1", "2"], [1, "1"], [0.1, 0.2], {"a": {"b": {"c": 1}}}),
    *({"low": 1}, {"low": 1, "high": 2}, {"low": 2, "high": 1}, {"low": 0, "high": 1, "log": True}),
    *({"low": 0, "high": 1, "step": 0.3}, {"low": "1", "high": 2}, {"low": 0.1, "high": 0.1}, {"low": 1, "high": 1e300}),
    {"low": 0.1, "high": 0.3, "step": 0.1},
]
KEYS = [
    "lern_rate",
    "learning_rate",
    "epochs",
    "smoothing",
    "space",
    "settings",
    "method",
    "low",
    "when",
    "only",
    "",
    "💥",
    "a b",
]
JSONS: list[Any] = [None, [], {}, 1, "x", {"suite": 1}]
SECONDS = 120


class Hangs(BaseException):
    """A command that takes too long; nothing catches it by mistake."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    errors: str
    fault: str = ""


def run(folder: Path, *arguments: str) -> Ended:
    """Runs a command of the command line in this process, in a folder."""

    def alarm(*_: object) -> None:
        raise Hangs

    output, errors, before = io.StringIO(), io.StringIO(), Path.cwd()
    signal.signal(signal.SIGALRM, alarm)
    signal.alarm(SECONDS)
    status, fault = 0, ""
    try:
        os.chdir(folder)
        with (
            mock.patch.object(sys, "argv", ["regbench", *arguments]),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
        ):
            command_line()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Hangs:
        fault = f"hangs for {SECONDS} s"
    except BaseException as error:  # whatever it is, it is found
        fault = f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
        os.chdir(before)
    said = errors.getvalue()
    if not fault and status == 2 and (len(said.splitlines()) != 1 or not said.startswith("error: ")):
        fault = f"a refusal of other than one line: {said!r}"
    if "Traceback" in said:
        fault = fault or "a traceback"
    return Ended(status, said, fault)


def mutated_suite(chance: random.Random) -> str:
    """A suite's text with one to three mutations."""
    suite = copy.deepcopy(chance.choice([SUITE, RICH]))
    for _ in range(chance.randint(1, 3)):
        holder = chance.choice(list(_holders(suite)))
        key = chance.choice(list(holder)) if isinstance(holder, dict) and holder else None
        match chance.randrange(4):
            case 0 if key is not None:
                del holder[key]
            case 1 if key is not None and isinstance(key, str):
                holder[key[:-1] if chance.random() < 0.5 else key.upper()] = holder.pop(key)
            case 2 if isinstance(holder, dict):
                holder[chance.choice(KEYS)] = copy.deepcopy(chance.choice(VALUES))
            case _ if isinstance(holder, dict) and key is not None:
                holder[key] = copy.deepcopy(chance.choice(VALUES))
            case _ if isinstance(holder, list):
                holder.append(copy.deepcopy(chance.choice(VALUES)))
    text = yaml.safe_dump(suite, allow_unicode=True, sort_keys=False)
    return _mutated_text(text, chance) if chance.random() < 0.15 else text


def _holders(node: Any) -> Iterator[Any]:
    if isinstance(node, dict | list):
        yield node
        for child in node.values() if isinstance(node, dict) else node:
            yield from _holders(child)


def _mutated_text(text: str, chance: random.Random) -> str:
    place = chance.randrange(len(text))
    lines = text.splitlines(keepends=True)
    return chance.choice(
        [
            text[:place],
            text[:place] + chance.choice("\t:#-[]{}&*!|>'\"%@`\x00\x07") + text[place:],
            "\ufeff" + text.replace("\n", "\r\n"),
            text + chance.choice(lines),
            "".join(chance.sample(lines, len(lines))),
        ]
    )


def try_suite(folder: Path, chance: random.Random) -> tuple[str, str]:
    """Dry run, then sweep, status and comparison of a mutated suite: how it ended, and its fault, if there is one."""
    text = mutated_suite(chance)
    (folder / "suite.yaml").write_text(text, encoding="utf-8", newline="")
    dry = run(folder, "sweep", "suite.yaml", "--dry-run")
    if dry.fault or dry.status:
        fault = dry.fault or ("" if dry.status == 2 else f"a dry run ends with {dry.status}")
        real = run(folder, "sweep", "suite.yaml", "--tracking", "none")
        fault = (
            fault or real.fault or ("" if real.status == 2 else f"refused by the dry run, and sweep exits with {real.status}")
        )
        return "refused", fault or ("" if not list(folder.glob("regbench-results/*")) else "refused, but something is written")
    suite = yaml.safe_load((folder / "suite.yaml").read_text(encoding="utf-8-sig"))
    if not _affordable(suite):
        return "taken", ""
    name = str(suite["name"])
    outcome, fault = _work(folder, name, run(folder, "sweep", "suite.yaml", "--tracking", "none"))
    for arguments in (["compare", name], ["resume", name, "--tracking", "none"]):
        again = run(folder, *arguments)
        fault = fault or again.fault or ("" if again.status in (0, 1) else f"{arguments[0]}: {again.errors}")
    return outcome, fault


def _affordable(suite: dict[str, Any]) -> bool:
    """Whether a suite that is in order is small enough to be run."""
    try:
        size = float(suite.get("trials", 10)) * float((suite.get("settings") or {}).get("epochs", 30))
        return size <= 20 and suite.get("execution") == "inline" and float((suite.get("confirm") or {}).get("seeds", 5)) <= 2
    except (TypeError, ValueError):
        return False


def _work(folder: Path, name: str, swept: Ended) -> tuple[str, str]:
    """Whether a sweep that has run, or has been resumed, did its work: 0 after success, 1 where trials failed."""
    if swept.fault or swept.status == 2:
        return "stopped" if swept.status == 2 else "broken", swept.fault
    records = Records(Storage(folder / "regbench-results").child(name))
    found = SweepStatus(name, records)
    if swept.status in (0, 1) and found.state != "complete":
        return "broken", f"exit {swept.status}, and the sweep is {found.state}"
    if not records.storage.exists("report/report.html"):
        return "broken", f"exit {swept.status} without a report"
    for arguments in (["status"], ["status", name]):
        looked = run(folder, *arguments)
        if looked.fault or looked.status:
            return "broken", f"{arguments[0]}: {looked.fault or looked.errors}"
    return "completed" if swept.status == 0 else "completed with failures", ""


def template(folder: Path) -> Path:
    """A folder of three sweeps: ``fuzzed``, complete; ``half``, interrupted; ``healthy``, which nobody touches."""
    for name, suite in (("fuzzed", SUITE), ("healthy", SUITE), ("half", RICH)):
        (folder / "suite.yaml").write_text(yaml.safe_dump(suite | {"name": name}))
        assert run(folder, "sweep", "suite.yaml", "--tracking", "none").status == 0
    half = Records(Storage(folder / "regbench-results").child("half"))
    for key in sorted(half.ended())[::2]:
        half.take_back(key)
    (folder / "suite.yaml").write_text(yaml.safe_dump(SUITE))
    return folder


def mutate_folder(sweep: Path, chance: random.Random) -> list[str]:
    """Does to some files of a sweep what people, editors and file systems do; returns what was done."""
    done = []
    for _ in range(chance.randint(1, 3)):
        files = sorted(path for path in sweep.rglob("*") if path.is_file())
        path = chance.choice(files)
        what = chance.choice(["empty", "cut", "lost", "swapped", "other JSON", "bytes", "backup", "copy", "edited"])
        _mutate(path, what, chance.choice(files), chance)
        done.append(f"{what} {path.relative_to(sweep)}")
    return done


def _mutate(path: Path, what: str, other: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    match what:
        case "empty":
            path.write_bytes(b"")
        case "cut":
            path.write_bytes(content[: chance.randrange(len(content) + 1)])
        case "lost":
            path.unlink()
        case "swapped":
            path.write_bytes(other.read_bytes())
        case "other JSON":
            path.write_text(json.dumps(chance.choice(JSONS)))
        case "bytes":
            path.write_bytes(chance.randbytes(64))
        case "backup":
            path.with_name(f"{path.name}~").write_bytes(content)
        case "copy":
            path.with_name(f"{path.stem} (conflicted copy){path.suffix}").write_bytes(content)
        case _:
            _edit(path, content, chance)


def _edit(path: Path, content: bytes, chance: random.Random) -> None:
    """Another value in place of one of a JSON file's."""
    try:
        node = json.loads(content)
    except ValueError:
        return
    holders = [holder for holder in _holders(node) if isinstance(holder, dict) and holder]
    if holders:
        holder = chance.choice(holders)
        holder[chance.choice(list(holder))] = chance.choice(VALUES)
        path.write_text(json.dumps(node))


def try_folder(folder: Path, chance: random.Random) -> tuple[str, str]:
    """Looks at, compares and resumes a sweep in whose folder files were changed: how that ended, and its fault, if any."""
    name = chance.choice(["fuzzed", "half"])
    done = mutate_folder(folder / "regbench-results" / name, chance)
    overview = run(folder, "status")
    fault = overview.fault or ("" if overview.status == 0 else f"status of all sweeps ends with {overview.status}")
    for arguments in (["status", name], ["compare", name], ["status", "healthy"]):
        looked = run(folder, *arguments)
        fault = fault or (f"{arguments[0]}: {looked.fault}" if looked.fault else "")
    outcome, found = "refused", run(folder, "resume", name, "--tracking", "none")
    if found.status != 2 or found.fault:
        outcome, work = _work(folder, name, found)
        fault = fault or work
    return outcome, f"{fault} after {', '.join(done)}" if fault else ""


def cases(
    count: int, seed: int, kinds: tuple[str, ...] = ("suite", "suite", "suite", "folder")
) -> Iterator[tuple[str, str, str]]:
    """Kind, outcome and fault of each case; kinds take turns."""
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = template(Path(tempfile.mkdtemp(dir=name))) if "folder" in kinds else None
        for number in range(seed, seed + count):
            chance, folder, kind = random.Random(number), Path(tempfile.mkdtemp(dir=name)), kinds[number % len(kinds)]
            try:
                if made and kind == "folder":
                    shutil.copytree(made, folder, dirs_exist_ok=True)
                    outcome, fault = try_folder(folder, chance)
                else:
                    outcome, fault = try_suite(folder, chance)
            except RegbenchError as error:
                outcome, fault = "broken", str(error)
            shutil.rmtree(folder)
            yield kind, outcome, f"case {number}: {fault}" if fault else ""


def write(counts: Counter[tuple[str, str]]) -> None:
    """Writes the table of outcomes; a case with a fault is counted with its outcome, and as a fault."""
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "outcome", "cases"])
        writer.writerows((*key, count) for key, count in sorted(counts.items()))


def main() -> None:
    """Runs and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    options = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    found = track(cases(options.cases, options.seed), "fuzzing", total=options.cases)
    for number, (kind, outcome, fault) in enumerate(found, 1):
        counts[kind, outcome] += 1
        counts[kind, "faults"] += bool(fault)
        if fault:
            print(fault, flush=True)
        if options.cases > 1 and (number % 50 == 0 or number == options.cases):
            # It takes long, and may be ended before.
            write(counts)
    faults = sum(count for (_, outcome), count in counts.items() if outcome == "faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
