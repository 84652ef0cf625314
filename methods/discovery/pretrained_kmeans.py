"""k-means on the features of the pretrained encoder."""

from typing import ClassVar

import torch
from sklearn.cluster import KMeans
from torch.utils.data import TensorDataset

from regbench.methods.discovery.metrics import discovery_metrics
from regbench.methods.discovery.task import EVALUATION_BATCH, DiscoveringMethod
from regbench.methods.method import Metrics, Paper, hyperparameter
from regbench.methods.run import Run
from regbench.methods.training import Estimator


class PretrainedKMeans(DiscoveringMethod, Estimator):
    """Clusters the features of all training images, by the pretrained encoder, around K means; uses no label."""

    paper: ClassVar[Paper | None] = None
    off_equals: ClassVar[str | None] = None  # trains nothing

    restarts: int = hyperparameter(10, ge=1, help="starts of k-means, of which the best counts")

    def fit_and_judge(self, run: Run) -> Metrics:
        """Fits the means to all images, and assigns each to the nearest one."""
        encoder = self.build_encoder(run.data)[0].to(run.device)

        def features(split: TensorDataset) -> torch.Tensor:
            with torch.no_grad():
                return torch.cat([encoder(part) for part in run.tensors(split)[0].split(EVALUATION_BATCH)]).double().cpu()

        seed, classes = run.numpy_seed("k-means"), run.data.meta["classes"]
        found = KMeans(classes, n_init=self.restarts, random_state=seed).fit(features(run.data.train).numpy())

        def evaluate(split: TensorDataset) -> Metrics:
            clusters = torch.from_numpy(found.predict(features(split).numpy())).long()
            # What is not trained forgets nothing.
            return discovery_metrics(clusters, split.tensors[1], run.data.meta["known"]) | {"forgetting": 0.0}

        return run.judge(evaluate)
