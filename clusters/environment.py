"""Environment variables of a sweep's processes, here and on the nodes of a cluster.

Values that the launcher passes on travel in a file beside the shipped code and not in the job's runtime environment, which Ray
writes into its logs and shows on its dashboard.
"""

import json
import os
from pathlib import Path
from typing import Any

from regbench.clusters.kinds import Cluster

SHIPPED = Path(__file__).parents[2]
ENVIRONMENT_FILE = "environment.json"
# Read by Ray when it is imported or when its workers start: set before `import ray`, kept where the user has set them.
QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    # One idle worker a core, at the moment that all cores start the sweep: trials have workers of their own environment.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    # Workers that are not there in a minute, on a busy machine or one that has to start, would be started anew for ever.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1800",
    "RAY_worker_register_timeout_seconds": "1800",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune would take many seconds to end its trials in order; records make that needless.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "30",
}
# `ray job stop` kills after 3 seconds by default; a sweep that is interrupted first writes what it knows.
GRACEFUL = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "60"}


def enter() -> None:
    """Takes over the shipped environment; Ray calls this first in every worker of a job."""
    path = SHIPPED / ENVIRONMENT_FILE
    if path.is_file():
        os.environ.update(json.loads(path.read_text(encoding="utf-8")))


def node_variables(cluster: Cluster) -> dict[str, str]:
    """Environment variables without secrets for every process of the sweep on the cluster."""
    return QUIET | GRACEFUL | ({"REGBENCH_DATA": cluster.data} if cluster.data else {})


def runtime_environment(cluster: Cluster, working_dir: str) -> dict[str, Any]:
    """The runtime environment of the cluster's job, with the code in ``working_dir``."""
    return {
        "working_dir": working_dir,
        "env_vars": node_variables(cluster),
        "worker_process_setup_hook": "regbench.clusters.environment.enter",
    }
