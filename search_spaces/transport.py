"""Search spaces of the transport track."""

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

SPACES: dict[str, dict[str, BaseDistribution]] = {
    "exact_transport": {},
    "sinkhorn": {"entropic_weight": FloatDistribution(1e-3, 1.0, log=True)},
    "sparse_transport": {
        "quadratic_weight": FloatDistribution(1e-3, 10.0, log=True),
        # From the fewest nonzeros with which 64 rows fit into 8 columns, to no limit.
        "max_nonzeros": IntDistribution(8, 64, log=True),
        "solver": CategoricalDistribution(["semi_dual", "dual"]),
    },
}
