"""How a policy's entropy falls while it is reinforced, by method, and what AEPO makes of the entropy that it is told.

The entries of the suite ``reasoning`` with one weight each, and AEPO with five targets: the entropy of the policy that samples,
in means over ten steps.

    python benchmarks/policy_entropy.py

writes ``benchmarks/results/policy_entropy.csv`` and draws ``policy_entropy.svg`` and ``commanded_entropy.svg`` in
``docs/methods/plots``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from rich.progress import track as progress

from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform.suite.spec import read_suite

RESULTS = Path(__file__).parent / "results" / "policy_entropy.csv"
PLOTS = Path(__file__).parents[1] / "docs" / "methods" / "plots"
EVERY = 10
# Weights in the middle of what the suite searches.
WEIGHTS: dict[str, dict[str, float]] = {
    "grpo": {},
    "dr_grpo": {},
    "entropy_bonus": {"entropy_weight": 0.03},
    "siren": {"entropy_weight": 1.0},
    "aepo": {"reinforce_weight": 0.5, "temperature_high": 1.6},
    "lp_reg": {"divergence_weight": 10.0, "low_percentile": 0.1, "threshold": 0.05},
}
TARGETS = (0.5, 0.55, 0.6, 0.65, 0.7)
# The target of the suite.
SHOWN = 0.65


def measure(seeds: int) -> pd.DataFrame:
    """Mean entropies and rewards of every ten steps, a row for each."""
    points = [(entry, None) for entry in WEIGHTS if entry != "aepo"] + [("aepo", target) for target in TARGETS]
    suite, found = read_suite("reasoning"), []
    for seed in progress(range(seeds), description="seeds"):
        for entry, target in points:
            spec = suite.methods[entry]
            slug = spec.method or entry
            fields = type(create(slug, {})).model_fields
            settings = {name: value for name, value in suite.settings.items() if name in fields}
            settings |= spec.settings | WEIGHTS[entry] | {"report_every": EVERY, "evaluated": 1}
            if target is not None:
                settings["target_entropy"] = target
            for number, metrics in enumerate(create(slug, settings).train(Run("chain_countdown", seed=seed)), 1):
                found.append((entry, target, seed, EVERY * number, metrics["train/entropy"], metrics["train/reward"]))
    return pd.DataFrame(found, columns=["entry", "target", "seed", "step", "entropy", "reward"])


def draw_training(rows: pd.DataFrame) -> None:
    """Entropies over training, means and the range over seeds."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes, shown = figure.subplots(), rows[rows.target.isna() | (rows.target == SHOWN)]
    for number, entry in enumerate(WEIGHTS):
        over = shown[shown.entry == entry].groupby("step").entropy
        label = f"aepo, target {SHOWN}" if entry == "aepo" else entry
        axes.plot(over.mean().index, over.mean(), label=label, color=f"C{number}")
        axes.fill_between(over.mean().index, over.min(), over.max(), alpha=0.15, color=f"C{number}")
    axes.set(xlabel="step", ylabel="entropy of the policy, nats a token")
    axes.legend(fontsize=8)
    figure.savefig(PLOTS / "policy_entropy.svg", metadata={"Date": None})


def draw_commanded(rows: pd.DataFrame) -> None:
    """Commanded against measured entropy, the mean of the last quarter of the steps; a point a seed."""
    figure = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes, late = figure.subplots(), rows[rows.step > 0.75 * rows.step.max()]
    commanded = late[late.entry == "aepo"].groupby(["target", "seed"]).entropy.mean().reset_index()
    means = commanded.groupby("target").entropy.mean()
    axes.plot(TARGETS, TARGETS, color="0.6", linestyle="--", label="as commanded")
    axes.plot(means.index, means, color="C4", label="aepo")
    axes.scatter(commanded.target, commanded.entropy, color="C4", s=12)
    axes.axhline(late[late.entry == "grpo"].entropy.mean(), color="C0", label="grpo")
    axes.set(xlabel="commanded entropy", ylabel="entropy in the last quarter")
    axes.legend(fontsize=8)
    figure.savefig(PLOTS / "commanded_entropy.svg", metadata={"Date": None})


def main() -> None:
    """Measures and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    rows = measure(parser.parse_args().seeds)
    rows.to_csv(RESULTS, index=False, float_format="%.6g")
    mpl.rcParams["svg.hashsalt"] = "regbench"
    draw_training(rows)
    draw_commanded(rows)


if __name__ == "__main__":
    main()
