"""The export of a running sweep: what it cannot do, `regbench sync` does later."""

from tracked_sweep import dump, finished

from regbench.platform.tracking.exporter import Exporter
from regbench.platform.tracking.live import LiveExporter


def test_an_outage_loses_nothing(tmp_path):
    """The server is dead during the sweep; a later export brings MLflow to where it would have been."""
    records = finished(tmp_path / "results")
    live = LiveExporter(Exporter(records, "http://127.0.0.1:9"), period_s=0.01)
    live.start()
    live.stop()
    assert live.problem is not None
    assert "regbench sync demo" in live.problem
    assert "\n" not in live.problem
    late, undisturbed = (f"sqlite:///{tmp_path}/{name}.db" for name in ("late", "undisturbed"))
    Exporter(records, late).sync(final=True)
    Exporter(records, undisturbed).sync(final=True)

    def comparable(uri: str) -> dict[str, object]:
        runs = dump(uri)
        return {name: (run["status"], run["params"], run["metrics"], run["artifacts"]) for name, run in runs.items()}

    assert comparable(late) == comparable(undisturbed)
