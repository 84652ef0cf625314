"""How the command ends where Ctrl-C is pressed again after its work is done, while Python ends."""

import subprocess
import sys

# The second Ctrl-C arrives in the middle of a clean-up, the third when Python has given up its own handlers.
PROGRAM = """
import atexit, os, signal, sys
from regbench.platform import cli

def press():
    os.kill(os.getpid(), signal.SIGINT)

def app():
    # While an object is cleared away, and then where it can be raised.
    Late()
    press()

class Late:
    def __del__(self, press=press):
        press()

sys.late = Late()
atexit.register(press)
cli.app = app
cli.main()
"""


def test_a_late_interrupt_changes_neither_status_nor_output():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
