"""CFDBench's flows (Luo, Chen, Zhang, 2023), frames of two velocities, as InformationKoopman's authors publish them."""

from pathlib import Path

import numpy as np

from regbench.methods.errors import DataError
from regbench.methods.shared.data import Data, dataset, require
from regbench.methods.shared.data.dynamical_systems import standardized

FOLDER = "cfdbench"
FRAME = (2, 64, 64)
# Forecasts are judged 50 steps ahead.
FEWEST_FRAMES = 51


@dataset("cfdbench_cylinder", help="flow past a cylinder, frames of 2x64x64: vortex streets at Re 40 to 1000", folder=FOLDER)
def cfdbench_cylinder() -> Data:
    """Trajectories ``[N, L, 2, 64, 64]`` from ``cylinder_train_data.npy`` and ``cylinder_val_data.npy``."""
    return flow_data("cfdbench_cylinder", *require(FOLDER, "cylinder_train_data.npy", "cylinder_val_data.npy"))


@dataset("cfdbench_dam", help="water over a dam, frames of 2x64x64", folder=FOLDER)
def cfdbench_dam() -> Data:
    """Trajectories ``[N, L, 2, 64, 64]`` from ``dam_train_data.npy`` and ``dam_val_data.npy``."""
    return flow_data("cfdbench_dam", *require(FOLDER, "dam_train_data.npy", "dam_val_data.npy"))


def flow_data(name: str, learned: Path, held_out: Path) -> Data:
    """A data set of two arrays of trajectories, standardized by channel; every other held-out trajectory is for testing.

    Raises:
        DataError: a file holds no such array, or the held-out one a single trajectory.
    """
    train, rest = read_flows(learned), read_flows(held_out)
    if len(rest) < 2:
        raise DataError(f"{held_out} holds one trajectory: validation and test need one each")
    splits = {"train": train, "validation": rest[::2], "test": rest[1::2]}
    return Data(name, **standardized(splits, axes=(0, 1, 3, 4)), meta={"shape": FRAME, "dt": 1.0}, pool=0)


def read_flows(path: Path) -> np.ndarray:
    """The trajectories ``[N, L, 2, 64, 64]`` of a NumPy file.

    Raises:
        DataError: it cannot be read, or holds another kind of array.
    """
    try:
        found = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged, copy it again: {error}") from None
    shape: tuple[int, ...] = getattr(found, "shape", ())
    if len(shape) != 5 or shape[2:] != FRAME or not np.issubdtype(found.dtype, np.floating):
        raise DataError(f"{path} holds an array of shape {shape}, not trajectories of frames (N, L, 2, 64, 64)")
    if shape[1] < FEWEST_FRAMES:
        raise DataError(f"{path} holds trajectories of {shape[1]} frames, but forecasts need at least {FEWEST_FRAMES}")
    return found
