"""Search spaces of the prior recovery track."""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(3e-4, 1e-2, log=True),
    "softplus_beta": FloatDistribution(1.0, 100.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "posterior_median": TRAINING,
    "scalar_proximal": TRAINING
    | {
        "matching_fraction": FloatDistribution(0.3, 0.9),
        "proximal_gamma_min": FloatDistribution(0.05, 0.5, log=True),
        "num_gamma_stages": IntDistribution(1, 6),
    },
}
