"""Search spaces of the imaging track."""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

WEIGHT: dict[str, BaseDistribution] = {"regularization_weight": FloatDistribution(1e-3, 1.0, log=True)}

# The scale counts in restoration from measurements, and there only over the penalty, which is fixed.
TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(3e-4, 3e-2, log=True),
    "noise_level": FloatDistribution(0.02, 0.5, log=True),
    "data_fidelity_scale": FloatDistribution(0.05, 50.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "noisy_image": {},
    "total_variation": WEIGHT | {"smoothing": FloatDistribution(1e-4, 0.1, log=True)},
    "field_of_experts": WEIGHT,
    "dncnn": TRAINING,
    "learned_proximal": TRAINING
    | {
        "proximal_gamma_min": FloatDistribution(0.02, 0.5, log=True),
        "num_gamma_stages": IntDistribution(1, 6),
        "strong_convexity": FloatDistribution(1e-6, 0.1, log=True),
        "softplus_beta": FloatDistribution(1.0, 100.0, log=True),
        "pretrain_fraction": FloatDistribution(0.0, 0.9),
    },
}
