"""Search spaces of the clustering track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
    "dropout": FloatDistribution(0.0, 0.4),
}
HIDDEN: dict[str, BaseDistribution] = {"hidden_reconstruction_weight": FloatDistribution(0.01, 1.0, log=True)}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "autoencoder_kmeans": TRAINING | HIDDEN,
    "dec": TRAINING | HIDDEN,
    "depict": TRAINING
    | HIDDEN
    | {
        "clustering_weight": FloatDistribution(0.01, 10.0, log=True),
        "reconstruction_weight": FloatDistribution(0.01, 10.0, log=True),
        "balance_weight": FloatDistribution(0.0, 5.0),
        "target_power": CategoricalDistribution([1.0, 1.5, 2.0]),
    },
    "kmeans": {"restarts": IntDistribution(1, 40)},
    "spectral": {"neighbours": IntDistribution(5, 50, log=True)},
}
