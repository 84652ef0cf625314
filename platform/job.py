"""What runs on a cluster: ``python -m regbench.platform.job sweep …``, the command line in the shipped environment."""

from regbench.clusters.environment import SHIPPED, enter


def main() -> None:
    """Runs the command line."""
    enter()
    from regbench.platform import cli

    cli.show_what_can_be_shown()
    print(f"regbench from {SHIPPED}", flush=True)
    cli.main()


if __name__ == "__main__":
    main()
