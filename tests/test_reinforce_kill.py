"""A REINFORCE run with workers, killed in the middle, goes on to the end that it has in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from cse_autoloss import reinforce_loss
from cse_autoloss.cli.app import main

OPTIONS: dict[str, Any] = {
    "reinforce.seeds": 1,
    "device": "cpu",
    "workers": 2,
    "own.train_limit": 100,
    "own.epochs": 6,
    "reinforce.samples": 3,
    "reinforce.baselines": ["softmax"],
    "reinforce.lr_factors": [1.0, 2.0],
}


def _killed(arguments: list[str], folder: Path, pattern: str) -> None:
    """Start the command, and kill it as soon as a checkpoint that fits is there."""
    code = "from cse_autoloss.cli.app import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    with subprocess.Popen(
        [sys.executable, "-c", code, "reinforce", *arguments], env=environment, stderr=subprocess.PIPE
    ) as process:
        try:
            deadline = time.monotonic() + 300
            while not any((folder / "states").glob(pattern)):
                ended = process.poll() is not None
                assert not ended, process.stderr.read() if process.stderr else ""
                assert time.monotonic() < deadline
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_a_killed_process_goes_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole"
    expected = reinforce_loss(out=whole, **{**OPTIONS, "executor": "inprocess"}).summary
    broken = tmp_path / "broken"
    options = [f"--set={key}={json.dumps(value)}" for key, value in OPTIONS.items()]
    _killed(["--out", str(broken), *options], broken, "searched-0-2.[2-4].pt")
    assert not (broken / "summary.json").exists()

    monkeypatch.setattr(sys, "argv", ["cse-autoloss", "reinforce", "--resume", str(broken), "-q"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    assert "am-lfs (searched)" in capsys.readouterr().out
    found = json.loads((broken / "summary.json").read_text())
    for name in expected:
        assert found[name] == expected[name] or name in ("seconds", "overhead", "utilisation")
    one, other = (torch.load(d / "best" / "model.pt", weights_only=True) for d in (whole, broken))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (broken / "best" / "loss.json").read_text().replace("broken", "whole") == (
        whole / "best" / "loss.json"
    ).read_text()
