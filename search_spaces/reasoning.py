"""Search spaces of the reasoning track. 0, which a log range cannot hold, is the off value, compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-4, 1e-3, log=True),
    "updates_per_rollout": CategoricalDistribution([1, 4, 8]),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "grpo": TRAINING | {"clip_high": FloatDistribution(0.2, 0.4)},
    "entropy_bonus": TRAINING | {"entropy_weight": FloatDistribution(1e-4, 0.3, log=True)},
    "entropy_advantage": TRAINING
    | {"alpha": FloatDistribution(0.01, 1.0, log=True), "kappa": FloatDistribution(1.0, 4.0, log=True)},
    "high_entropy_tokens": TRAINING | {"token_share": FloatDistribution(0.05, 1.0)},
    "kl_cov": TRAINING
    | {
        "updates_per_rollout": CategoricalDistribution([4, 8]),
        "penalty_weight": FloatDistribution(0.03, 30.0, log=True),
        "token_share": FloatDistribution(2e-4, 0.1, log=True),
    },
    "clip_cov": TRAINING
    | {
        "token_share": FloatDistribution(2e-4, 0.1, log=True),
        "covariance_low": FloatDistribution(0.1, 1.0, log=True),
    },
    "siren": TRAINING
    | {
        "entropy_weight": FloatDistribution(1e-3, 3.0, log=True),
        "anchor_scale": FloatDistribution(0.5, 1.5),
        "top_p": FloatDistribution(0.5, 1.0),
        "peak_quantile": FloatDistribution(0.0, 0.95),
        "nucleus_rule": CategoricalDistribution(["inclusive", "exclusive"]),
    },
    "aepo": TRAINING
    | {
        "reinforce_weight": FloatDistribution(1 / 128, 1.0, log=True),
        "target_entropy": FloatDistribution(0.06, 0.7),
        "temperature_high": FloatDistribution(1.05, 2.0),
        "temperature_low": FloatDistribution(0.5, 0.95),
        "prompt_share": CategoricalDistribution([0.125, 0.25, 0.5, 1.0]),
        "temperature_rule": CategoricalDistribution(["two_level", "continuous"]),
    },
    "lp_reg": TRAINING
    | {
        "divergence_weight": FloatDistribution(0.03, 30.0, log=True),
        "low_percentile": FloatDistribution(0.005, 0.3, log=True),
        "threshold": FloatDistribution(0.005, 0.3, log=True),
        "threshold_type": CategoricalDistribution(["min_p", "fixed"]),
        "divergence": CategoricalDistribution(["k3_sample", "exact"]),
        "clip_high": CategoricalDistribution([1.0, 4.0, 9.0]),
    },
}
