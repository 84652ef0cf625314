"""What each latent does to an image: quantized latents and those of a plain autoencoder, one by one through their values.

Both are trained with the settings of the suite ``disentanglement``, quantization with its default weights. A row is a latent,
its value changing from left to right: through its codebook, or through the tenths of its values in unseen images. The others
stay at those of one image. The latent's largest information about a source, and which source that is, stand before the row.

    python benchmarks/latent_traversals.py

draws ``docs/methods/plots/latent_traversals.svg``.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from regbench.methods.disentanglement.infomec import modularity, normalized_information
from regbench.methods.disentanglement.networks import Autoencoder
from regbench.methods.disentanglement.task import AutoencoderMethod
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "latent_traversals.svg"
SLUGS = ("latent_quantization", "autoencoder")
VALUES = 10


def trained(method: AutoencoderMethod, run: Run) -> Autoencoder:
    """The network that a method ends with, in evaluation mode."""
    for _ in method.train(run):
        pass
    network = method.build_model(run.data)
    network.load_state_dict(run.state()["state"]["model"])
    return network.eval()


def traversals(network: Autoencoder, images: Tensor, place: int) -> Tensor:
    """Images ``[n_z, VALUES, C, H, W]`` of the code of one of some images, each latent in turn taking its values."""
    z = network(images).latents.z
    if network.latent.discrete:
        values = network.latent.codebooks.sort(1).values
    else:
        values = z.quantile(torch.linspace(0.05, 0.95, VALUES), 0).T
    count = z.shape[1]
    codes = z[place].repeat(count, VALUES, 1)
    codes[torch.arange(count), :, torch.arange(count)] = values
    return network.decoder(codes.flatten(0, 1)).sigmoid().unflatten(0, (count, VALUES))


def main() -> None:
    """Trains both and draws the figure."""
    planned = {study.entry: study for study in studies(read_suite("disentanglement"))}
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(10, 5), layout="constrained")
    for axes, slug in zip(figure.subplots(1, len(SLUGS)), SLUGS, strict=True):
        method, run = create(slug, planned[slug].fixed), Run("scenes", seed=0)
        assert isinstance(method, AutoencoderMethod)
        network = trained(method, run)
        images, sources = run.data.validation.tensors
        with torch.no_grad():
            rows = traversals(network, images, place=0)
            codes = network(images).latents.codes
        information = normalized_information(sources, codes, discrete=network.latent.discrete)
        strongest = information.max(0)
        order = strongest.indices.argsort(stable=True)
        framed = np.pad(rows[order].permute(0, 3, 1, 4, 2).numpy(), ((0, 0), (1, 1), (0, 0), (1, 1), (0, 0)), constant_values=1)
        axes.imshow(framed.reshape(framed.shape[0] * framed.shape[1], -1, 3))
        names = [name.replace("_", " ") for name in run.data.meta["sources"]]
        labels = [f"{names[int(strongest.indices[j])]} {strongest.values[j]:.2f}" for j in order]
        axes.set_yticks(np.arange(len(labels)) * framed.shape[1] + framed.shape[1] / 2, labels, fontsize=8)
        axes.set_xticks([])
        axes.set_title(f"{slug} (InfoM {modularity(information).item():.2f})", fontsize=9)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
