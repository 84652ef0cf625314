"""Film strips of generated clips: a real clip, and what RDTF makes of its given frames in each of the three tasks.

RDTF is trained on moving digits with the settings of the suite ``clips``, for longer if ``--iterations`` says so. Each block
is an unseen clip: the real frames, then generation from the first frame and the caption, interpolation of every other frame,
and prediction of the last three. Given frames have a frame around them.

    python benchmarks/clip_strips.py [--iterations N]

draws ``docs/methods/plots/clip_strips.svg``; the one that is kept is of 1,400 steps.
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from regbench.methods.clips.diffusion import signal_rates
from regbench.methods.clips.networks import FrameNetwork
from regbench.methods.clips.task import JUDGED, ClipMethod
from regbench.methods.registry import create
from regbench.methods.run import Run
from regbench.methods.shared.data.moving_digits import CLASSES, MOTIONS
from regbench.platform.suite.plan import studies
from regbench.platform.suite.spec import read_suite

PLOT = Path(__file__).parents[1] / "docs" / "methods" / "plots" / "clip_strips.svg"
# Guidance as strong as the paper's is for long training; these clips are sampled with little.
GUIDANCE = {"text_guidance": 1.5, "image_guidance": 1.5, "sampling_steps": 50}


def trained(method: ClipMethod, run: Run) -> FrameNetwork:
    """The network that a method ends with, in evaluation mode."""
    for _ in method.train(run):
        pass
    network = run.network
    assert isinstance(network, FrameNetwork)
    return network.eval()


def strip(axes: Axes, frames: Tensor, given: tuple[int, ...], name: str) -> None:
    """Frames ``[F, 1, H, W]`` from left to right, given ones framed."""
    side = frames.shape[-1]
    pixels = np.pad(frames[:, 0].numpy(), ((0, 0), (1, 1), (2, 2)), constant_values=1)
    axes.imshow(np.hstack(list(pixels)), cmap="gray", vmin=-1, vmax=1)
    for place, flag in enumerate(given):
        if flag:
            corner = (place * (side + 4) + 0.5, -0.5)
            axes.add_patch(mpl.patches.Rectangle(corner, side + 2, side + 2, fill=False, edgecolor="C1", linewidth=2))
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)


def main() -> None:
    """Trains and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, help="steps; by default those of the suite")
    options = parser.parse_args()
    planned = {study.entry: study for study in studies(read_suite("clips"))}
    settings = dict(planned["rdtf"].fixed) | GUIDANCE
    if options.iterations:
        settings |= {"iterations": options.iterations, "report_every": options.iterations}
    method, run = create("rdtf", settings), Run("moving_digits", seed=0)
    assert isinstance(method, ClipMethod)
    network, rates = trained(method, run), signal_rates(method.schedule)
    clips, _, captions = run.data.validation.tensors
    # One unseen clip of each motion.
    rows = torch.stack([(captions[:, 1] == 1 + CLASSES + motion).nonzero()[0, 0] for motion in range(len(MOTIONS))])
    made = {task: method.generate(network, rates, clips[rows], captions[rows], task, run) for task in JUDGED}
    mpl.rcParams["svg.hashsalt"] = "regbench"
    figure = Figure(figsize=(13, 8), layout="constrained")
    for block, (motion, row) in enumerate(zip(MOTIONS, rows, strict=True)):
        height = 1 + len(JUDGED)
        first = block // 2 * height
        places = [figure.add_subplot(3 * height, 2, 2 * (first + line) + block % 2 + 1) for line in range(height)]
        strip(places[0], clips[row], (), f"{motion}, {int(captions[row, 0]) - 1}")
        for axes, (task, mask) in zip(places[1:], JUDGED.items(), strict=True):
            strip(axes, made[task][block], mask, task)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")


if __name__ == "__main__":
    main()
