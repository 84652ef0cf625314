"""The Koopman autoencoder: the baseline of the dynamics track."""

from typing import ClassVar

from regbench.methods.dynamics.task import KoopmanMethod
from regbench.methods.method import Paper


class KoopmanAutoencoder(KoopmanMethod):
    """Minimizes errors of forecasts and reconstructions through latents that a linear operator moves, and nothing else."""

    paper: ClassVar[Paper | None] = Paper(
        "Learning Koopman Invariant Subspaces for Dynamic Mode Decomposition",
        "Takeishi, Kawahara, Yairi",
        2017,
        "NeurIPS",
        "1710.04340",
    )
