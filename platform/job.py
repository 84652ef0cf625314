"""What runs on a cluster: ``python -m regbench.platform.job sweep …`` is the command line in the environment that was shipped.

Values of environment variables travel in a file beside the code and not in the job's runtime environment, which Ray writes into
its logs and shows on its dashboard.
"""

import json
import os
from pathlib import Path

SHIPPED = Path(__file__).parents[2]
ENVIRONMENT_FILE = "environment.json"


def enter() -> None:
    """Takes over the shipped environment; Ray calls this first in every worker of the job."""
    path = SHIPPED / ENVIRONMENT_FILE
    if path.is_file():
        os.environ.update(json.loads(path.read_text(encoding="utf-8")))


def main() -> None:
    """Runs the command line."""
    enter()
    from regbench.platform import cli

    print(f"regbench from {SHIPPED}", flush=True)
    cli.main()


if __name__ == "__main__":
    main()
