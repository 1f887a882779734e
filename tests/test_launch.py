"""Which runs a search may go on with."""

from pathlib import Path

import pytest

import cse_autoloss
from cse_autoloss.errors import RunError
from cse_autoloss.runs import RunStore


def test_another_commands_run_is_named(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {"compare": {}}):
        pass
    for go_on in (cse_autoloss.evolve, cse_autoloss.reinforce_loss):
        with pytest.raises(RunError, match="go on with it by cse-autoloss compare --resume") as caught:
            go_on(resume=tmp_path / "run")
        assert "\n" not in str(caught.value)
