"""Embeddings of digits on a plane: after the autoencoder's own training, and after DEPICT's, coloured by class.

DEPICT is trained with the settings of the suite ``clustering`` at a rate of 2e-3; the plane is that of the two leading
discriminants of the clusters that were found, so that no label decides what is seen.

    python benchmarks/embeddings.py

draws ``docs/methods/plots/embeddings.svg``.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from regbench.methods.clustering.depict import Depict
from regbench.methods.clustering.metrics import clustering_metrics
from regbench.methods.run import Run
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "embeddings.svg"
RATE = 2e-3
FORMS: dict[str, dict[str, Any]] = {
    "pretrained": {"clustering_weight": 0.0, "reconstruction_weight": 0.0},
    "paper's targets": {"target_power": 1.0},
    "sharper, power 2": {"target_power": 2.0},
    "released targets": {"target_form": "released"},
}


def main() -> None:
    """Trains, and draws the figure."""
    torch.set_num_threads(1)
    study = next(study for study in studies(read_suite("clustering")) if study.entry == "depict")
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(11, 3.1), layout="constrained")
    for axes, (form, settings) in zip(figure.subplots(1, len(FORMS)), FORMS.items(), strict=True):
        run = Run(study.data)
        method = Depict(**(dict(study.fixed) | {"learning_rate": RATE} | settings))
        for _ in method.train(run):
            pass
        (x,) = run.data.train.tensors
        network = run.part("model").eval()
        with torch.no_grad():
            z = network.autoencoder.encoder(x)
            clusters = network.clean_log_p(x).argmax(1)
        _, y, rows = run.data.test.tensors
        plane = LinearDiscriminantAnalysis(n_components=2).fit(z.numpy(), clusters.numpy()).transform(z[rows].numpy())
        accuracy = clustering_metrics(clusters[rows], y)["accuracy"]
        axes.scatter(*plane.T, c=y.numpy(), cmap="tab10", s=6, linewidths=0)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{form}, accuracy {accuracy:.2f}", fontsize=10, loc="left")
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    main()
