"""What the tests of MLflow share: a server, and a browser that looks at its pages."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright

from regbench.platform.tracking.ui import ui_command


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The address of a real MLflow server on a free port of the loopback interface."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command, environment = ui_command(f"sqlite:///{folder}/mlflow.db", "127.0.0.1", port)
    process = subprocess.Popen(command, env=os.environ | environment, start_new_session=True, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    for _ in range(240):
        try:
            urllib.request.urlopen(f"{url}/health", timeout=5)
            break
        except OSError:
            assert process.poll() is None, "the MLflow server ended"
            time.sleep(0.25)
    yield url
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of Chromium, without a screen."""
    if (chromium := shutil.which("chromium")) is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        # Chromium's sandbox refuses to run as root.
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=os.geteuid() != 0)
        page = browser.new_page(viewport={"width": 1400, "height": 1600})
        page.set_default_timeout(120_000)
        yield page
        browser.close()
