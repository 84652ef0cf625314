"""Search spaces of the generative track. 0, which a log range cannot hold, is the off value and is compared by ablation."""

from optuna.distributions import BaseDistribution, FloatDistribution

TRAINING: dict[str, BaseDistribution] = {"learning_rate": FloatDistribution(1e-4, 5e-3, log=True)}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "wgan": TRAINING,
    "nonsaturating_gan": TRAINING,
    "manifold_entropy_gan": TRAINING
    | {
        "entropy_weight": FloatDistribution(1e-5, 1.0, log=True),
        "dlle_weight": FloatDistribution(1e-2, 10.0, log=True),
        "disomap_weight": FloatDistribution(1e-2, 10.0, log=True),
    },
}
