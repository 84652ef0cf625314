"""Search spaces of the sparse regression track. A log range cannot hold 0, the off value: it is compared by ablation."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

LEVEL: dict[str, BaseDistribution] = {"sparsity_weight": FloatDistribution(1e-3, 1.0, log=True)}
SCAD: dict[str, BaseDistribution] = LEVEL | {"scad_a": FloatDistribution(2.1, 6.0)}
SCREENING: dict[str, BaseDistribution] = {
    "num_screened": IntDistribution(10, 500, log=True),
    "mi_estimator": CategoricalDistribution(["kde", "binning", "knn", "pearson"]),
    "bandwidth_multiplier": FloatDistribution(0.3, 3.0, log=True),
}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "maximum_likelihood": {},
    "ridge": {"ridge_weight": FloatDistribution(1e-3, 1e3, log=True)},
    "lasso": LEVEL,
    "scad": SCAD,
    "mcp": LEVEL | {"mcp_gamma": FloatDistribution(1.1, 10.0, log=True)},
    "screening": SCREENING,
    "high_dimensional": SCREENING | SCAD,
    "mixed_effects": {},
    "tsallis_mixed_effects": SCAD | {"nu": FloatDistribution(2.0, 100.0, log=True)},
}
