"""Search spaces of the sampling track: the budget and the grid of all samplers, and the constants of EVODiff."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

SAMPLING: dict[str, BaseDistribution] = {
    "num_function_evaluations": CategoricalDistribution([5, 8, 10, 12, 15, 20, 25]),
    "skip_type": CategoricalDistribution(["logSNR", "edm"]),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "ddim": SAMPLING,
    "dpm_solver": SAMPLING,
    "unipc": SAMPLING | {"variant": CategoricalDistribution(["bh1", "bh2"])},
    "evodiff": SAMPLING
    | {
        "correction_weight": FloatDistribution(0.0, 1.5),
        "balance_weight_max": FloatDistribution(0.0, 1.0),
        "variance_temperature": FloatDistribution(0.05, 4.0, log=True),
        "variance_factor_min": FloatDistribution(0.1, 0.5),
        "variance_factor_max": FloatDistribution(1.0, 2.0),
        "eta_scale": FloatDistribution(0.0, 1.0),
        "zeta_shift": FloatDistribution(-1.0, 2.0),
        "projection_clip": FloatDistribution(1.0, 4.0),
        "final_step": CategoricalDistribution(["heuristic", "first_order"]),
    },
}
