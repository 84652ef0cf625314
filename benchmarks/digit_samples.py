"""Images that models of digits generate: Langevin samples of each model of the suite ``unnormalized``, decoded.

The models are trained on codes of the digits 0 to 4 with the suite's settings and their default weights, and start their chains
from the same noise, which is shown, too.

    python benchmarks/digit_samples.py

draws ``docs/methods/plots/digit_samples.svg``.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.progress import track as progress

from regbench.methods.density.estimation import langevin
from regbench.methods.density.task import DensityMethod
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data import load
from regbench.methods.shared.data.densities import digit_encoder
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "digit_samples.svg"
COUNT = 15
STEPS = 1000


def samples(method: DensityMethod) -> dict[str, torch.Tensor]:
    """The noise of a trained method, and what its chains make of it, ``[COUNT, D]`` each."""
    run = Run("digit_codes", seed=0)
    for _ in method.train(run):
        pass
    network, q = method.build_model(run.data), method.fit_noise(run)
    network.load_state_dict(run.state()["state"]["model"])
    stream = torch.Generator().manual_seed(0)
    noise = q.sample(COUNT, stream)
    made = langevin(lambda x: network(x, q.log_prob(x)), noise, STEPS, method.langevin_step_size, stream)
    return {"noise": noise, method.slug: made}


def main() -> None:
    """Trains the models and draws the figure."""
    rows: dict[str, torch.Tensor] = {"data": load("digit_codes").train.tensors[0][:COUNT]}
    planned = [study for study in studies(read_suite("unnormalized")) if study.data == "digit_codes"]
    for study in progress(planned, description="training"):
        method = create(study.method.slug, study.fixed)
        # Its samples are where all chains start.
        if study.entry != "noise_alone":
            assert isinstance(method, DensityMethod)
            rows |= samples(method)
    encoder = digit_encoder(load("digit_images"))
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(9, 0.46 * len(rows)), layout="constrained")
    for axes, (name, codes) in zip(figure.subplots(len(rows)), rows.items(), strict=True):
        images = encoder.inverse_transform(codes.double().numpy()).reshape(COUNT, 8, 8)
        axes.imshow(np.hstack(np.pad(images, ((0, 0), (0, 0), (1, 1)), constant_values=-1)), cmap="gray", vmin=-1, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
