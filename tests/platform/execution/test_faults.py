"""A sweep that is broken in the middle and resumed ends as one that nobody disturbed; each fault on real parts, in small."""

import random
import subprocess

import pytest

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def mounts(tmp_path) -> None:
    """A small disk of one's own is a mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False, capture_output=True).returncode:
        pytest.skip("filling up a disk needs the right to mount one: run as root")
    subprocess.run(["umount", folder], check=True)


def broken_and_resumed(faults, folder, reference, night: list[str], *options: str, **suite: object) -> None:
    with faults.Sweep(folder / "night", **suite) as sweep:
        sweep.options = list(options)
        for fault in night:
            assert faults.FAULTS[fault](sweep, 1, random.Random(1))
        if sweep.records.ended() != reference.ended():
            assert sweep.finish() == 0, sweep.output.read_text()
        found = faults.differences(sweep, reference)
    assert found == dict.fromkeys(found, 0)


@pytest.mark.parametrize("night", [["torn", "interrupt", "worker"], ["node"]], ids=" ".join)
def test_nothing_is_lost_repeated_or_changed(tmp_path, faults, small, reference, night):
    broken_and_resumed(faults, tmp_path, reference, night, **small)


def test_a_tracking_server_that_dies_loses_nothing(tmp_path, faults, small, reference):
    broken_and_resumed(faults, tmp_path, reference, ["mlflow"], execution="inline", **small)


def test_a_full_disk_stops_the_sweep_with_one_line_and_loses_nothing(tmp_path, mounts, faults, small, reference):
    broken_and_resumed(faults, tmp_path, reference, ["storage"], "--cpus", "1", **small)


def test_a_kill_while_mlflow_makes_its_tables_leaves_a_usable_database(tmp_path, faults, small, reference):
    """And a second kill, at a random moment of the training, leaves a usable sweep."""
    with faults.Sweep(tmp_path / "young", execution="inline", **small) as sweep:
        process = sweep.start()
        assert faults.wait_until(lambda: any((tmp_path / "young").glob("results/.mlflow.db.*")), process)
        process.kill()
        process.wait()
        assert faults.kill_driver(sweep, 1, random.Random(1))
        assert sweep.finish() == 0, sweep.output.read_text()
        found = faults.differences(sweep, reference)
    assert found == dict.fromkeys(found, 0)


def test_every_fault_is_tested(faults):
    assert set(faults.FAULTS) == {"driver", "worker", "node", "mlflow", "storage", "torn", "interrupt"}
