"""Tables for regression: files and their faults, splits, outliers; and a search on a file of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from task_samples import TINY

import cse_autoloss
from cse_autoloss.errors import AutoLossError, DataError
from cse_autoloss.settings.tasks.regression import RegressionSettings
from cse_autoloss.tasks.regression import RegressionTask
from cse_autoloss.tasks.tables import Table, read_csv, split_table, with_outliers


@pytest.fixture
def file(tmp_path: Path) -> Path:
    source = np.random.default_rng(0)
    x = source.normal(size=(60, 2))
    y = 5 + x @ [2.0, -1.0] + source.normal(0, 0.1, 60)
    path = tmp_path / "mine.csv"
    lines = [f"{a},{t},{b}" for (a, b), t in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("a, price,b\n" + "\n".join(lines) + "\n")
    return path


def test_a_file_is_read(file: Path) -> None:
    table = read_csv(file, "price")
    assert table.features.shape == (60, 2)
    slope = np.linalg.lstsq(np.column_stack((table.features, np.ones(60))), table.target, rcond=None)[0]
    assert slope == pytest.approx([2, -1, 5], abs=0.1)
    for sign in ";\t":
        file.write_text("\ufeff" + file.read_text().lstrip("\ufeff").replace(",", sign), encoding="utf-8")
        assert np.array_equal(read_csv(file, "price").features, table.features)
        file.write_text(file.read_text().replace(sign, ","))


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("", "y", "the file is empty"),
        ("x,y\n1,2\n", None, "say by target which column is predicted; there are x, y"),
        ("x,y\n1,2\n", "z", "unknown target: column of"),
        ("y\n1\n", "y", "the only column"),
        ("0.5,1.5\n1,2\n", "1.5", "the first line, 0.5,1.5, holds numbers; expected the columns' names"),
        ("3,3\n1,2\n", "3", "the first line, 3,3, holds numbers; expected the columns' names"),
        ("y,x,y\n1,2,3\n", "y", "2 columns are called 'y'"),
        ("x;y\n1,5;2\n", "y", ":2: x: expected a number, got '1,5'"),
        ("x,y\n1,2\n", "y", "1 rows; 20 are needed"),
        ("x,y\n1,2\n3\n", "y", ":3: 1 values, but there are 2 columns"),
        ("x,y\n1,2\n3,red\n", "y", ":3: y: expected a number, got 'red'"),
        ("x,y\n1,2\nnan,3\n", "y", ":3: x: expected a number, got 'nan'"),
    ],
)
def test_a_faulty_file_is_told_in_one_line(tmp_path: Path, text: str, target: str | None, words: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(AutoLossError) as caught:
        read_csv(path, target)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_file_of_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_csv(tmp_path / "none.csv", "y")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        read_csv(tmp_path / "b.csv", "y")


def test_columns_without_a_name_are_none_of_the_data(file: Path) -> None:
    table, lines = read_csv(file, "price"), file.read_text().splitlines()
    assert table.notes == ()
    for name in ("", "Unnamed: 0"):
        file.write_text("\n".join([f"{name},{lines[0]}", *(f"{i},{one}" for i, one in enumerate(lines[1:]))]))
        found = read_csv(file, "price")
        assert np.array_equal(found.features, table.features)
        assert found.notes == (f"{file}: the first column has no name and numbers the rows; it is left out",)
        task = RegressionTask(RegressionSettings(data=f"csv:{file}", target="price", outliers=0.0))
        assert task.check() == found.notes
    file.write_text("\n".join(f"{one}," for one in lines))
    assert np.array_equal(read_csv(file, "price").features, table.features)
    assert cse_autoloss.inspect_data(str(file)).parts[0].facts["features"] == "2"


def test_names_may_be_numbers_and_hold_separators(file: Path) -> None:
    table, lines = read_csv(file, "price"), file.read_text().splitlines()
    file.write_text("\n".join(["0,1,2", *lines[1:]]))
    assert np.array_equal(read_csv(file, "1").features, table.features)
    file.write_text("\n".join(['"a, in m";"price";b', *(one.replace(",", ";") for one in lines[1:])]))
    assert np.array_equal(read_csv(file, "price").features, table.features)


def test_rows_that_stand_there_twice_are_told(file: Path) -> None:
    lines = file.read_text().splitlines()
    own = RegressionSettings(data=f"csv:{file}", target="price", outliers=0.0)
    assert RegressionTask(own).check() == ()
    file.write_text("\n".join([*lines, *lines[1:]]))
    count = len(lines) - 1
    (told,) = RegressionTask(own).check()
    assert told.startswith(f"warning: {count} of the {2 * count} rows stand in the table already; ")


def test_splits_are_disjoint_and_drawn_by_the_seed() -> None:
    table = Table(np.arange(100.0)[:, None], np.arange(100.0))
    parts = split_table(table, 1, 0.2, 0.3)
    assert [len(parts[name]) for name in ("train", "val", "test")] == [50, 20, 30]
    assert sorted(np.concatenate([part.target for part in parts.values()])) == list(range(100))
    assert np.array_equal(split_table(table, 1, 0.2, 0.3)["val"].target, parts["val"].target)
    assert not np.array_equal(split_table(table, 2, 0.2, 0.3)["val"].target, parts["val"].target)
    with pytest.raises(DataError, match="the train split has 0 of the table's 100 rows"):
        split_table(table, 1, 0.5, 0.5)
    with pytest.raises(DataError, match="the same number"):
        split_table(Table(table.features, np.ones(100)), 1, 0.2, 0.3)


def test_outliers_are_as_many_and_as_large_as_asked() -> None:
    table = Table(np.zeros((200, 1)), np.random.default_rng(0).normal(size=200))
    for both in (False, True):
        found = with_outliers(table, 0.25, 8.0, both, 3)
        moved = (found.target - table.target) / table.target.std()
        assert (moved != 0).sum() == 50
        sizes = np.abs(moved[moved != 0])
        assert 4 <= sizes.min() < 5
        assert 7 < sizes.max() <= 8
        assert (moved < 0).any() == both
    assert np.array_equal(with_outliers(table, 0.0, 8.0, True, 3).target, table.target)


def test_outliers_are_in_train_alone_and_are_told() -> None:
    clean, foul = (RegressionTask(RegressionSettings(outliers=share)) for share in (0.0, 0.5))
    assert clean.notes == ()
    assert foul.notes == ("50% of the targets to train on are outliers, put in on purpose",)
    for name in ("val", "test"):
        assert np.array_equal(clean.splits[name].target, foul.splits[name].target)
    assert (clean.splits["train"].target != foul.splits["train"].target).mean() == pytest.approx(
        0.5, abs=0.01
    )


def test_a_search_on_a_file(file: Path, tmp_path: Path) -> None:
    own = {"own__data": f"csv:{file}", "own__target": "price", "own__outliers": 0.0, "own__model": "linear"}
    seeds = ["Mul(Abs(R),Abs(Add(1,Mul(R,R))))"]
    result = cse_autoloss.evolve("regression", out=tmp_path / "run", seed_losses=seeds, **TINY, **own)
    assert result.summary["status"] == "finished"
    names = {one["name"] for one in result.summary["hall_of_fame"]["loss"]}
    assert "squared-error" in names, "what people use opens the population"
    assert all(0 < one["test"]["mean"] < 10 for one in result.summary["baselines"])
