"""Search spaces of the rescaling track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 3e-3, log=True),
    "lr_guidance_weight": FloatDistribution(0.1, 100.0, log=True),
    "latent_cross_entropy_weight": FloatDistribution(1e-3, 10.0, log=True),
    "gaussian_scale": CategoricalDistribution([0.0, 0.1, 0.5, 1.0]),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "bicubic": {},
    "irn": TRAINING,
    "dual_latent_rescaling": TRAINING
    | {
        "downscaling_latent_scale": FloatDistribution(0.01, 2.0, log=True),
        "downscaling_latent_channels": CategoricalDistribution([0, 1, 3, 6, 12]),
        "latent_cycle_weight": FloatDistribution(1e-3, 10.0, log=True),
    },
}
