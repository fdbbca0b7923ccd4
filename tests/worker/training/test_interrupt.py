"""The flag between a signal handler and the loop."""

import subprocess
import sys

from worker.training.interrupt import Interrupt, interrupt


def test_a_request_stays_until_it_is_taken_back() -> None:
    flag = Interrupt()
    assert not flag.requested
    flag.request()
    assert flag.requested
    flag.clear()
    assert not flag.requested


def test_the_process_has_one_which_nobody_raised() -> None:
    assert not interrupt.requested


def test_it_imports_no_torch() -> None:
    code = "import sys, worker.training.interrupt; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
