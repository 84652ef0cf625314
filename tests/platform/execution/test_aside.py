"""A module is imported once, in a thread; who needs it waits until it is complete."""

import sys
import threading
from importlib import import_module
from types import SimpleNamespace

from regbench.platform.execution.aside import import_aside


def test_who_imports_it_later_gets_the_whole_module(tmp_path, monkeypatch):
    gate = SimpleNamespace(begun=threading.Event(), open=threading.Event(), threads=[])
    monkeypatch.setitem(sys.modules, "gate_of_slow", gate)
    monkeypatch.syspath_prepend(tmp_path)
    lines = [
        "import threading, gate_of_slow as gate",
        "gate.threads.append(threading.current_thread())",
        "gate.begun.set()",
        "gate.open.wait()",
        "complete = True",
    ]
    (tmp_path / "slow_to_import.py").write_text("\n".join(lines))
    import_aside("slow_to_import")
    import_aside("slow_to_import")
    assert gate.begun.wait(60)
    threading.Timer(0.05, gate.open.set).start()
    assert import_module("slow_to_import").complete
    (thread,) = gate.threads
    assert thread is not threading.current_thread()
    monkeypatch.delitem(sys.modules, "slow_to_import")
