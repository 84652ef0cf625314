"""What `make quick` leaves out is found through the helpers, classes and modules that a test names."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from reach import named

THIS = sys.modules[__name__]


def helper():
    return subprocess.run(["true"], check=False)


class Holder:
    def start(self):
        return helper()


def by_a_helper():
    return helper()


def by_a_class():
    return Holder().start()


def by_a_module():
    return THIS.helper()


def by_an_import():
    import subprocess

    return subprocess


def inside():
    return lambda: helper()


def by_word_alone():
    return SimpleNamespace(subprocess=1, helper=2).helper


@pytest.mark.parametrize("function", [by_a_helper, by_a_class, by_a_module, by_an_import, inside])
def test_processes_are_found(function):
    assert "subprocess" in set(named(function, set()))


def test_attributes_of_the_same_name_are_none():
    assert "subprocess" not in set(named(by_word_alone, set()))
