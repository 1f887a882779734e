"""A run that somebody sends may hold links to the user's files: nothing is written through them."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from cse_autoloss.errors import RunError
from cse_autoloss.predict.run import predict_images
from cse_autoloss.runs import RunStore, holds_run, write_whole
from cse_autoloss.runs.links import WRITTEN
from cse_autoloss.runs.lock import RunLock
from cse_autoloss.training.pauses import keep

PRECIOUS = "what took a year\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run as it comes out of an archive."""
    RunStore.create(tmp_path / "run", {"seed": 1}).close()
    (tmp_path / "precious").write_text(PRECIOUS)
    return tmp_path / "run"


def test_the_lock_empties_nothing_that_a_link_leads_to(run: Path) -> None:
    (run / "run.lock").unlink()
    (run / "run.lock").symlink_to("../precious")
    with pytest.raises(RunError, match=r"run\.lock: the run can't be locked: this is a link; remove it$"):
        RunStore.open(run)
    (run / "run.sqlite").unlink()
    with pytest.raises(RunError, match="this is a link"):
        RunStore.create(run, {})
    assert (run.parent / "precious").read_text() == PRECIOUS


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes that have names")
def test_the_lock_waits_at_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.lock")
    with pytest.raises(RunError, match="this is no file; remove it"):
        RunLock(tmp_path / "run.lock")


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_in_place_is_no_link(run: Path, name: str) -> None:
    target = run.parent / "target"
    if name == "run.sqlite":  # another run of the user's
        (run / name).rename(target)
    else:
        target.mkdir()
    (run / name).symlink_to(target)
    with pytest.raises(RunError, match=f"{name}: a link; what is written there would land outside of"):
        RunStore.open(run)
    RunStore.read(run).close()


@pytest.mark.parametrize("folder", ["states", "best", "plots", "weights", "predictions"])
def test_a_file_in_a_folder_of_the_run_is_no_link(run: Path, folder: str) -> None:
    (run / folder).mkdir()
    (run / folder / "graph.svg").symlink_to("../../precious")
    with pytest.raises(RunError, match=r"graph\.svg: a link"):
        RunStore.open(run)
    with pytest.raises(RunError, match=r"graph\.svg: a link"):
        predict_images(run)


def test_the_users_own_links_beside_a_run_are_no_matter(run: Path) -> None:
    (run / "data").symlink_to(run.parent)
    RunStore.open(run).close()
    link = run.parent / "link"
    link.symlink_to(run)
    assert holds_run(link)
    RunStore.open(link).close()


def test_a_file_on_its_way_to_its_name_is_written_through_no_link(run: Path) -> None:
    (run / f".summary.json.{os.getpid()}.tmp").symlink_to("../precious")
    (run / "summary.json").symlink_to("../precious")
    write_whole(run / "summary.json", "{}")
    assert (run / "summary.json").read_text() == "{}"
    assert not (run / "summary.json").is_symlink()
    assert (run.parent / "precious").read_text() == PRECIOUS


def test_the_state_of_a_paused_training_is_written_through_no_link(run: Path) -> None:
    (run / "states").mkdir()
    (run / "states" / f"a.pt.{os.getpid()}").symlink_to("../../precious")
    keep(SimpleNamespace(state=lambda: {"step": 1}), run / "states" / "a.pt")  # type: ignore[arg-type]
    assert torch.load(run / "states" / "a.pt", weights_only=True) == {"step": 1}
    assert (run.parent / "precious").read_text() == PRECIOUS
