"""Results on an S3 server: the storage's promises, and whole sweeps, killed and resumed, without a secret left anywhere."""

import os
import subprocess
import sys
import time
import urllib.request

import pytest
from pyarrow import fs

from regbench.methods.errors import StorageError
from regbench.platform.records.records import Records, Report
from regbench.platform.records.storage import Storage

SECRET = "wJalrXUtnFEMI-not-to-be-found-anywhere"
BUCKET = "bench"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def options(faults, tmp_path_factory):
    """The query of the URIs of a real S3 server on the loopback interface; the login is in the environment."""
    port = faults.free_port()
    output = (tmp_path_factory.mktemp("s3") / "server.txt").open("wb")
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=output, stderr=output)
    login = {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in login.items():
            patch.setenv(name, value)
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5)
                break
            except OSError:
                assert server.poll() is None, "the S3 server ended"
                time.sleep(0.25)
        endpoint = f"127.0.0.1:{port}"
        fs.S3FileSystem(endpoint_override=endpoint, scheme="http", allow_bucket_creation=True).create_dir(BUCKET)
        yield f"endpoint_override={endpoint}&scheme=http"
    server.terminate()
    server.wait()
    output.close()


@pytest.fixture
def storage(options, tmp_path) -> Storage:
    return Storage(f"s3://{BUCKET}/{tmp_path.name}?{options}")


def test_files_are_read_as_written(storage):
    assert storage.local is None
    assert storage.names() == []
    assert not storage.exists("folder/file")
    for content in (b"first", b"", b"second"):
        storage.write("folder/file", content)
        assert storage.read("folder/file") == content
    storage.write("folder/other", b"x" * 6_000_000)
    assert len(storage.read("folder/other")) == 6_000_000
    assert storage.names() == ["folder"]
    assert storage.names("folder") == ["file", "other"]
    storage.delete("folder/other")
    storage.delete("folder/other")
    assert storage.names("folder") == ["file"]
    with pytest.raises(FileNotFoundError):
        storage.read("folder/other")


def test_deleting_the_last_file_leaves_its_folder_empty(storage):
    storage.write("folder/file", b"content")
    storage.delete("folder/file")
    assert storage.names("folder") == []


def test_a_child_keeps_the_server(storage, options):
    child = storage.child("sweep")
    assert child.uri == f"{storage.uri.partition('?')[0]}/sweep?{options}"
    child.write("file", b"content")
    assert storage.read("sweep/file") == b"content"
    with pytest.raises(StorageError, match="cannot name a folder"):
        storage.child("../other")


def test_a_bucket_that_is_not_there_is_one_line(options):
    with pytest.raises(StorageError, match="cannot write file in s3://none") as caught:
        Storage(f"s3://none/results?{options}").write("file", b"content")
    assert len(str(caught.value).splitlines()) == 1


def test_a_server_that_is_not_there_is_one_line(faults, options):
    nowhere = f"s3://{BUCKET}/results?endpoint_override=127.0.0.1:{faults.free_port()}&scheme=http"
    with pytest.raises(StorageError, match="cannot read suite") as caught:
        Storage(nowhere).read("suite")
    assert len(str(caught.value).splitlines()) == 1


def test_a_password_in_an_address_is_refused_and_not_repeated(options):
    with pytest.raises(StorageError, match="AWS_SECRET_ACCESS_KEY") as caught:
        Storage(f"s3://AKIAIOSFODNN7EXAMPLE:{SECRET}@{BUCKET}/results?{options}")
    assert SECRET not in str(caught.value)


def test_a_log_is_uploaded_when_it_is_flushed(storage):
    """The first line goes up at once; later ones wait for a checkpoint, a while, or the end, and none is doubled."""
    records = Records(storage)
    log = records.start_attempt("trial", host="here")
    for number in (1, 2, 3):
        log.report(Report(number, 0.0, 0.0, {"loss": 1.0 / number}))
    assert [attempt["host"] for attempt in records.log("trial").attempts] == ["here"]
    assert records.log("trial").reports == []
    log.flush()
    log.flush()
    assert [report.round for report in records.log("trial").reports] == [1, 2, 3]


def test_a_sweep_that_is_killed_and_resumed_loses_nothing(tmp_path, options, faults, small, reference):
    uri = f"s3://{BUCKET}/killed?{options}"
    with faults.Sweep(tmp_path, storage=uri, **small) as sweep:
        sweep.options = ["--cpus", "1"]
        # On a busy machine a trial that was under way may have ended before the kill.
        while not sweep.unended():
            process = sweep.start()
            assert faults.wait_until(lambda: bool(sweep.records.ended() and sweep.under_way()), process)
            process.kill()
            process.wait()
            sweep.look()
        assert sweep.finish() == 0, sweep.output.read_text()
        found = faults.differences(sweep, reference)
        assert found == dict.fromkeys(found, 0)
        assert sum(map(len, sweep.attempts().values())) > len(sweep.attempts()), "the kill hit no trial"
        for command in ("status", "compare"):
            asked = [faults.COMMANDS / "regbench", command, faults.NAME, "--storage", uri]
            assert sweep.spawn(asked, {}).wait(faults.DEADLINE_SECONDS) == 0
    output = sweep.output.read_text()
    assert "faults: complete" in output
    assert "classification on digits_noisy: test accuracy" in output
    assert sweep.records.storage.read("report/report.html").startswith(b"<!doctype html>")

    objects = fs.FileSelector(sweep.records.storage.root, recursive=True)
    files = [info.path for info in sweep.records.storage.filesystem.get_file_info(objects) if info.is_file]
    contents = [sweep.records.storage.filesystem.open_input_stream(path).readall() for path in files]
    contents += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(contents) > 30
    assert not any(SECRET.encode() in content for content in contents)
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
