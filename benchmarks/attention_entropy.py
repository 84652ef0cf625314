"""The two failure modes of attention without LayerNorm: heads that attend uniformly, and heads that attend to single tokens.

Mean attention entropy of each layer over training, in units of log T, of GPT-2, of a model with softmax alone, of one with
learned temperatures, and of that with the penalty of entropy-guided attention; the architectures of the suite ``language``.

    python benchmarks/attention_entropy.py

writes ``benchmarks/results/attention_entropy.csv`` and draws ``docs/methods/plots/attention_entropy.svg``.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure
from rich.progress import track as progress

from regbench.methods.language.entropies import largest_entropy
from regbench.methods.registry import create
from regbench.methods.run import Run

RESULTS = Path(__file__).parent / "results" / "attention_entropy.csv"
PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "attention_entropy.svg"
SHARED = {"width": 32, "batch_size": 8, "learning_rate": 0.003, "iterations": 600, "report_every": 50, "evaluated": 50}
MODELS = {
    "LayerNorm and GELU": ("language_model", {}),
    "softmax alone": ("language_model", {"layer_norm": False, "feed": "fused"}),
    "learned temperatures": ("entropy_guided_attention", {"penalty_weight": 0.0}),
    "entropy-guided": ("entropy_guided_attention", {"penalty_weight": 0.1}),
}


def measure() -> pd.DataFrame:
    """A row for each model, step and layer."""
    found = []
    for model, (slug, settings) in progress(MODELS.items(), description="models"):
        for number, metrics in enumerate(create(slug, SHARED | settings).train(Run("python_source")), 1):
            row = {"model": model, "step": number * SHARED["report_every"], "perplexity": metrics["val/perplexity"]}
            row |= {name: metrics[f"val/{name}"] for name in ("overloaded", "collapsed")}
            for layer in range(6):
                found.append(row | {"layer": layer, "entropy": metrics[f"val/entropy/{layer}"]})
    return pd.DataFrame(found)


def draw(rows: pd.DataFrame) -> None:
    """A panel a model, a line a layer."""
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, len(MODELS), sharey=True)
    uniform = largest_entropy(64, "causal") / largest_entropy(64)
    for axes, model in zip(panels, MODELS, strict=True):
        own = rows[rows.model == model]
        for layer, line in own.groupby("layer"):
            axes.plot(line.step, line.entropy, color=mpl.colormaps["viridis"](int(layer) / 5), label=f"layer {int(layer) + 1}")
        axes.axhline(uniform, color="0.5", linestyle=":")
        axes.axhspan(0, 0.25, color="0.92", zorder=0)
        last = own[own.step == own.step.max()].iloc[0]
        text = f"{model}\nperplexity {last.perplexity:.1f}\n{last.overloaded:.0%} overloaded, {last.collapsed:.0%} collapsed"
        axes.set_title(text, fontsize=8)
        axes.set(xlabel="step", ylim=(0, 0.85))
    panels[0].set_ylabel("attention entropy / log T")
    panels[0].legend(fontsize=7, loc="lower left")
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Measures and draws."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    rows = measure()
    rows.to_csv(RESULTS, index=False, float_format="%.6g")
    draw(rows)


if __name__ == "__main__":
    main()
