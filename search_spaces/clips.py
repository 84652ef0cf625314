"""Search spaces of the clips track."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

TRAINING: dict[str, BaseDistribution] = {"learning_rate": FloatDistribution(3e-4, 5e-3, log=True)}
LOSS: dict[str, BaseDistribution] = {"loss_on_condition_frames": CategoricalDistribution([False, True])}
MASKS: dict[str, BaseDistribution] = LOSS | {
    "min_frames": IntDistribution(2, 5),
    "max_frames": IntDistribution(6, 8),
    # Of the mixture of tasks, only their ratios count.
    "interpolation_share": FloatDistribution(0.0, 1.0),
    "prediction_share": FloatDistribution(0.0, 1.0),
    "generation_share": FloatDistribution(0.1, 1.0),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "no_masks": TRAINING | LOSS,
    "dual_mask": TRAINING | MASKS,
    "rdtf": TRAINING
    | MASKS
    | {
        "proportional_gain": FloatDistribution(0.0, 10.0),
        "integral_gain": FloatDistribution(0.0, 10.0),
        "derivative_gain": FloatDistribution(0.0, 5.0),
        "feedback_scale": FloatDistribution(0.01, 1.0, log=True),
        "curriculum_fraction": FloatDistribution(0.0, 1.0),
    },
}
