"""Search spaces of the quadratic track: what a learner should be insensitive to."""

from optuna.distributions import BaseDistribution, FloatDistribution

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "initial_parameters": {},
    "quadratic_toy": {"lower_tolerance_init": FloatDistribution(1e-4, 10.0, log=True)},
}
