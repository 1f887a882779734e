"""One entry is enough: a process whose table has three operators more passes the operators' own tests, and the rest."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUITE = ("extra_operators_suite.py", "test_operators.py", "test_simulate_losses.py")
# What is told of each operator, of the new ones alone: the others' tests run beside this one.
CHOSEN = "extra_operators_suite or test_simulate_losses or not [ or Atan or Max or Square"


def test_an_operator_is_one_entry() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.extra_operators", "-p", "no:cacheprovider"]
    command += ["-k", CHOSEN]
    command += [str(ROOT / "tests" / name) for name in SUITE]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
