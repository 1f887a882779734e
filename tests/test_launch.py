"""Which runs a search may go on with."""

from pathlib import Path

import pytest

import cse_autoloss
from cse_autoloss.errors import RunError
from cse_autoloss.runs import RunStore


@pytest.mark.parametrize(
    ("kept", "command"), [({"compare": {}}, "compare"), ({"search": "reinforce"}, "reinforce")]
)
def test_another_commands_run_is_named(kept: dict, command: str, tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", kept):
        pass
    with pytest.raises(RunError, match=f"go on with it by cse-autoloss {command} --resume") as caught:
        cse_autoloss.evolve(resume=tmp_path / "run")
    assert "\n" not in str(caught.value)
