"""Several processes: who one is, who tells of mistakes, and a training of two by torchrun."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fullsize_samples import needs_torchvision, small_settings, tiny_faster_rcnn, write_data

from cse_autoloss.errors import ConfigError
from cse_autoloss.fullsize.processes import first_tells, my_place, together

ROOT = Path(__file__).parents[1]


def test_alone() -> None:
    place = my_place("cpu")
    assert (place.rank, place.world, place.device.type, place.leads) == (0, 1, "cpu", True)
    with together(place):
        assert not torch.distributed.is_initialized()
    with pytest.raises(ConfigError, match="device: expected auto, cpu or cuda, got 'gpu'"):
        my_place("gpu")


def test_gpus_by_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    place = my_place("auto")
    assert (place.rank, place.world, place.device, place.leads) == (5, 8, torch.device("cuda", 1), False)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="this machine has 2 GPUs, too few for a process each"):
        my_place("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="no GPU that this torch can use"):
        my_place("cuda")


def test_the_first_process_of_a_machine_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError), first_tells():
        raise ConfigError("wrong")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as end, first_tells():
        raise ConfigError("wrong")
    assert end.value.code == 2


SCRIPT = """
import shutil, sys
sys.path.insert(0, {tests!r})
from fullsize_samples import tiny_faster_rcnn
from cse_autoloss.fullsize import models, training
models.models.get_model = tiny_faster_rcnn
save = training.checkpoint.save_checkpoint

def keep_the_second(path, state):
    save(path, state)
    if state["step"] == 2 and path.parent.name == "a":
        shutil.copy(path, {kept!r})

training.checkpoint.save_checkpoint = keep_the_second
from cse_autoloss.cli.app import main
main()
"""


def torchrun(data: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes on the CPU, each with the command line on a network of a few layers."""
    script = data / "train.py"
    text = SCRIPT.format(tests=str(Path(__file__).parent), kept=str(data / "second.pt"))
    script.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, str(script), "train", "--device", "cpu", *options],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@needs_torchvision
@pytest.mark.torchvision
def test_two_processes_train_as_one_and_go_on(tmp_path: Path) -> None:
    write_data(tmp_path, count=9)  # an image without boxes is in it
    a, b = tmp_path / "a", tmp_path / "b"
    through = torchrun(
        tmp_path,
        *(
            "--detector",
            "torchvision:fasterrcnn_resnet50_fpn",
            "--data",
            f"coco:{tmp_path}",
            "--weights",
            "none",
        ),
        *(
            "--loss",
            "cse-autoloss-a",
            "--image-size",
            "64",
            "--batch",
            "4",
            "--workers",
            "0",
            "--no-tensorboard",
        ),
        *("--set", "warmup=2", "--set", "save_every=2", "--set", "max_steps=4", "--out", str(a)),
    )
    assert through.returncode == 0, through.stderr
    assert through.stdout.count("COCO boxes") == 1
    assert "4 steps of 4, peak learning rate 0.005, on cpu and 1 more" in through.stderr
    steps = (a / "scalars.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in steps] == [1, 2, 3, 4]

    b.mkdir()
    shutil.copy(a / "train.yaml", b)
    shutil.copy(tmp_path / "second.pt", b / "checkpoint.pt")
    rest = torchrun(tmp_path, "--resume", str(b))
    assert rest.returncode == 0, rest.stderr
    assert "goes on after step 2 of 4" in rest.stderr
    one, other = (torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (a, b))
    assert one["step"] == other["step"] == 4
    assert all(torch.equal(value, other["model"][name]) for name, value in one["model"].items())


@needs_torchvision
@pytest.mark.torchvision
@pytest.mark.parametrize("rank", [0, 1])
def test_a_mistake_of_several_is_told_once(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cse_autoloss.fullsize import models
    from cse_autoloss.fullsize.training import train

    monkeypatch.setattr(models.models, "get_model", tiny_faster_rcnn)
    write_data(tmp_path)
    for name, value in (("RANK", str(rank)), ("WORLD_SIZE", "2"), ("LOCAL_RANK", str(rank))):
        monkeypatch.setenv(name, value)
    with pytest.raises((ConfigError, SystemExit)) as error:
        train(small_settings(tmp_path, batch=3), tmp_path / "out")
    if rank == 0:
        assert str(error.value) == "batch: 3 images do not divide among 2 processes"
    else:
        assert error.type is SystemExit
    assert not (tmp_path / "out").exists()
