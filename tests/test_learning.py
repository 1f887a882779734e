"""A run that learns from earlier runs: what it reads of them, that it keeps it, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import cse_autoloss as cal
from cse_autoloss.discovery.choosing import Chooser
from cse_autoloss.discovery.learning import KEPT, learnt
from cse_autoloss.errors import AutoLossError, ConfigError
from cse_autoloss.report.write import _learnt
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import load_config
from cse_autoloss.spaces import SIGNATURES, signature_of
from cse_autoloss.tasks.registry import section_of

CONFIG = load_config("smoke", {}, section_of)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = cal.evolve(config="smoke", seed=1, out=tmp_path_factory.mktemp("runs") / "first")
    return Path(result.directory)


@pytest.fixture(scope="module")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "second"
    result = cal.evolve(config="smoke", seed=2, out=out, surrogate__learn_from=[str(first)])
    return Path(result.directory)


def test_it_begins_with_what_was_trained(first: Path, second: Path) -> None:
    with RunStore.read(second) as store:
        rows = store.meta(KEPT)
        notes = store.meta("summary")["notes"]
    assert sum(note.startswith("learnt from 1 run with ") for note in notes) == 1
    with RunStore.read(first) as store:
        trained = {text for event in store.events("trained") for text in event.detail["worth"]}
    assert {row["formula"] for row in rows} == trained
    assert {row["data"] for row in rows} == {"digits"}
    assert {row["signature"] for row in rows} == {"cls-binary", "reg"}


def test_what_is_kept_is_enough_to_go_on(second: Path) -> None:
    slots = {"cls": SIGNATURES["cls-binary"], "reg": SIGNATURES["reg"]}
    with RunStore.read(second) as store:
        rows = learnt(store, ["gone"], CONFIG, slots)
    assert len(rows) > 10
    chooser = Chooser(slots, 0, "detection", "digits", rows)
    assert chooser.knows("cls")
    assert not Chooser(slots, 0, "detection", "others", rows).knows("cls")


def test_what_was_trained_alike_counts_as_the_runs_own(first: Path, tmp_path: Path) -> None:
    slots = {"cls": SIGNATURES["cls-binary"], "reg": SIGNATURES["reg"]}
    longer = load_config("smoke", {"proxy.epochs": CONFIG.proxy.epochs + 1}, section_of)
    rows = {}
    for name, config in (("alike", CONFIG), ("longer", longer)):
        with RunStore.create(tmp_path / name, {}) as store:
            rows[name] = learnt(store, [str(first)], config, slots)
    # The boxes' losses were searched beside what the first run found for the other slot.
    assert {row.signature for row in rows["alike"] if row.worths} == {"cls-binary"}
    assert not any(row.worths for row in rows["longer"])


def test_wider_spaces_take_what_was_trained_in_the_papers(first: Path, tmp_path: Path) -> None:
    slots = {"cls": signature_of("cls-binary-progress")}
    with RunStore.create(tmp_path / "new", {}) as store:
        rows = learnt(store, [str(first)], CONFIG, slots)
        assert {row.signature for row in rows} == {"cls-binary-progress"}
        assert learnt(store, [], CONFIG, slots) == rows


def test_a_folder_of_runs_is_all_of_them_that_are_of_the_task(first: Path, tmp_path: Path) -> None:
    slots = {"cls": SIGNATURES["cls-binary"]}
    folder = tmp_path / "runs"
    (folder / "notes").mkdir(parents=True)
    shutil.copytree(first, folder / "a")
    shutil.copytree(first, folder / "broken")
    (folder / "broken" / "run.sqlite").write_bytes(b"no database")
    with RunStore.create(folder / "other", {"task": "classification"}):
        pass
    with RunStore.create(folder / "new", {}) as store:
        assert learnt(store, [str(folder)], CONFIG, slots)
        kept = store.meta(KEPT)
    with RunStore.create(tmp_path / "alone", {}) as store:
        learnt(store, [str(first)], CONFIG, slots)
        assert store.meta(KEPT) == kept
    with (
        RunStore.create(tmp_path / "lost", {}) as store,
        pytest.raises(AutoLossError, match="notes"),
    ):
        learnt(store, [str(folder / "notes")], CONFIG, slots)


def test_what_was_read_and_passed_over_is_told(tmp_path: Path) -> None:
    slots, folder = {"cls": SIGNATURES["cls-binary"]}, tmp_path / "runs"
    with RunStore.create(folder / "b", CONFIG.model_dump(mode="json")) as store:
        store.add_event("trained", slot="cls", worth={"Neg(Log(Sig(X)))": 0.4, "Mul(X,X)": None})
        store.add_event("trained", slot="cls", worth={"Mul(X,X)": 0.1})
    (folder / "broken").mkdir()
    (folder / "broken" / "run.sqlite").write_bytes(b"no database" * 100)
    with RunStore.create(folder / "other", {"task": "classification", "classification": {}}):
        pass
    with RunStore.create(tmp_path / "new", {}) as store:
        assert len(learnt(store, [str(folder)], CONFIG, slots)) == 2
        (noted,) = _learnt(store)
        learnt(store, [str(folder)], CONFIG, slots)
        assert len(store.events(KEPT)) == 1
    told = "learnt from 1 run with 3 trainings; 2 runs passed over, the first: "
    assert noted == f"{told}{folder / 'broken'}: run.sqlite is damaged: file is not a database"
    shutil.rmtree(folder / "b")
    with (
        RunStore.create(tmp_path / "none", {}) as store,
        pytest.raises(
            ConfigError, match=r"none that trained for detection \(2 runs passed over, the first: "
        ),
    ):
        learnt(store, [str(folder)], CONFIG, slots)


def test_mistakes_are_told(first: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a run of detection, expected one of classification"):
        cal.evolve("classification", out=tmp_path / "a", surrogate__learn_from=[str(first)], generations=1)
    with pytest.raises(AutoLossError, match="nowhere"):
        cal.evolve(config="smoke", out=tmp_path / "b", surrogate__learn_from=[str(tmp_path / "nowhere")])
    with pytest.raises(AutoLossError, match="File name too long"):
        cal.evolve(config="smoke", out=tmp_path / "c", surrogate__learn_from=["a" * 300])
    assert not any((tmp_path / name).exists() for name in "abc")
