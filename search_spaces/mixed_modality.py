"""Search spaces of the mixed-modality track. Ranges on a log scale cannot hold 0; the off values are compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(0.005, 0.1, log=True),
    "finetune_lr": FloatDistribution(2e-4, 2e-2, log=True),
}

# For images of 8 x 8: grids from an eighth of a side, kernels that can be reflected.
MASKS: dict[str, BaseDistribution] = {
    "mask_strength": FloatDistribution(0.0, 1.0),
    "grid_size": IntDistribution(1, 8),
    "blur_kernel": CategoricalDistribution([1, 3, 5]),
    "blur_sigma": FloatDistribution(0.3, 3.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "plain_two_stage": TRAINING,
    "random_mask": TRAINING | MASKS | {"log_concentration": FloatDistribution(-2.0, 2.0)},
    "noise_mask": TRAINING
    | MASKS
    | {
        "policy_mix": FloatDistribution(0.0, 1.0),
        "base_ema": FloatDistribution(1e-3, 0.1, log=True),
        "policy_lr_ratio": FloatDistribution(1e-3, 1.0, log=True),
        "policy_objective": CategoricalDistribution(["logsumexp", "reinforce"]),
    },
}
