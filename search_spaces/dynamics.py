"""Search spaces of the dynamics track. 0, which a log range cannot hold, is the off value and is compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "reconstruction_weight": FloatDistribution(0.01, 1.0, log=True),
    # The released loss has no such term: 0 is its value there, and part of the range.
    "koopman_consistency_weight": FloatDistribution(0.0, 5.0),
    "latent_dim": IntDistribution(4, 16),
    "ridge": FloatDistribution(1e-3, 1.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "koopman_autoencoder": TRAINING,
    "koopman_information": TRAINING
    | {
        "mutual_information_weight": FloatDistribution(0.01, 5.0, log=True),
        "von_neumann_entropy_weight": FloatDistribution(0.01, 1.0, log=True),
        "neighborhood_size": IntDistribution(1, 5),
        "temperature": FloatDistribution(0.05, 1.0, log=True),
        "window_length": IntDistribution(12, 20),
    },
    "dmd": {"rank": IntDistribution(2, 64, log=True)},
    "edmd": {
        "tikhonov_weight": FloatDistribution(1e-9, 1e-1, log=True),
        "dictionary": CategoricalDistribution(["rbf", "polynomial"]),
        "rank": IntDistribution(2, 12),
        "centers": IntDistribution(10, 200, log=True),
        "degree": IntDistribution(1, 3),
    },
}
