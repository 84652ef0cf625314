"""Search spaces of the private trees track. Every method searches the size of its tree, the plain way to say less."""

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

SIZE: dict[str, BaseDistribution] = {"max_depth": IntDistribution(1, 8), "min_rows": IntDistribution(1, 30, log=True)}

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "decision_tree": SIZE,
    "mutual_information_tree": SIZE | {"tree_lambda": FloatDistribution(0.0, 1.0)},
}
