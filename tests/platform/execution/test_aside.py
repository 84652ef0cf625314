"""A module is imported once, in a thread; who needs it waits until it is complete."""

import sys
import threading
from importlib import import_module
from types import SimpleNamespace

import pytest

from regbench.platform.execution.aside import Aside, import_aside


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


def test_work_aside_is_done_once_whether_started_or_asked_for():
    done = []
    work = Aside(lambda: done.append(threading.get_ident()) or len(done))
    work.start()
    work.start()
    assert (work.result(), work.result()) == (1, 1)
    assert done != [threading.get_ident()]
    assert Aside(lambda: 3).result() == 3


def test_what_work_aside_raises_is_raised_where_its_result_is_asked_for():
    def fails() -> None:
        raise ValueError("no room")

    work = Aside(fails)
    work.start()
    with pytest.raises(ValueError, match="no room"):
        work.result()
