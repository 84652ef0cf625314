"""Stores that cannot be used are refused before anything runs."""

import pytest

from regbench.methods.errors import TrackingError
from regbench.platform.records.storage import Storage
from regbench.platform.tracking.connection import check, default_uri


@pytest.mark.parametrize(
    ("uri", "says"),
    [("./mlruns", "use sqlite"), ("file:/somewhere", "use sqlite"), ("http://user:secret@127.0.0.1:9", "start the server")],
)
def test_unusable_tracking_is_refused_in_one_line_without_secrets(uri, says):
    with pytest.raises(TrackingError, match=says) as caught:
        check(uri)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_remote_results_need_a_server():
    with pytest.raises(TrackingError, match="--tracking"):
        default_uri(Storage("s3://bucket/results?region=eu-west-1"))
