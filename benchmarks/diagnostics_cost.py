"""What diagnostics cost, as a share of a training: the seconds that measuring takes over those of the rest.

    python benchmarks/diagnostics_cost.py

trains the plain method of each track that has a network, on the track's default data and with its default settings, for at most
``--rounds`` rounds, and writes ``benchmarks/results/diagnostics_cost.csv``: the processor seconds of a round and of a
measurement of each family of diagnostics on the default number of rows, the first round left out, and the share of a whole
training that measurements take at the default period. Uses one thread.
"""

import argparse
import time
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from rich.progress import track as progress

from regbench.methods.diagnostics import Diagnostics
from regbench.methods.registry import method_class, tracks
from regbench.methods.run import Run
from regbench.methods.watch import Watch

RESULTS = Path(__file__).parent / "results" / "diagnostics_cost.csv"


FAMILIES = (["dse"], ["dse", "dsmi"], ["dsmi_x"], ["collision_entropy"], ["ebab_x", "ebab_y"], ["akde_x", "akde_y"])


def cost(slug: str, names: list[str], rounds: int) -> tuple[float, float] | None:
    """Seconds of a round of training and of a measurement; None where there is nothing to measure."""
    method = method_class(slug)()
    run = Run(method.track.data[0])
    watch = Watch(Diagnostics(names=names, every=1), method, run)
    trained, measured, before = 0.0, 0.0, time.process_time()
    for number, _ in enumerate(islice(method.train(run), rounds)):
        between = time.process_time()
        found = watch.measure()
        after = time.process_time()
        if not found:
            return None
        if number:
            trained, measured = trained + between - before, measured + after - between
        before = time.process_time()
    return trained / (rounds - 1), measured / (rounds - 1)


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--tracks", nargs="*", default=sorted(tracks()))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name in progress(options.tracks, description="tracks"):
        track = tracks()[name]
        total = method_class(track.baseline)().rounds
        if total < 2:
            continue
        period = Diagnostics(names=["dse"]).period(total)
        measured = len({1, total} | set(range(period, total + 1, period)))
        for names in FAMILIES:
            if seconds := cost(track.baseline, names, min(options.rounds, total)):
                share = measured * seconds[1] / (total * seconds[0])
                found.append((name, track.baseline, " ".join(names), total, measured, *seconds, share))
    columns = ["track", "method", "diagnostics", "rounds", "measured", "round_seconds", "measuring_seconds", "share"]
    pd.DataFrame(found, columns=columns).to_csv(RESULTS, index=False, float_format="%.3g")


if __name__ == "__main__":
    main()
