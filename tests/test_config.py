"""Configurations: the shipped files, overrides, mistakes in words, and YAML's traps."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cse_autoloss.errors import AutoLossError, ConfigError
from cse_autoloss.settings.fields import Positive, Section
from cse_autoloss.settings.load import (
    SearchConfig,
    changed,
    config_names,
    dump,
    load_config,
    parse_config,
)
from cse_autoloss.settings.old_keys import in_todays_keys
from cse_autoloss.settings.plain_yaml import read_yaml
from cse_autoloss.settings.schema import config_model
from cse_autoloss.settings.tasks import section_of, task_names
from cse_autoloss.settings.tasks.detection import DetectionSettings, SceneSettings
from cse_autoloss.tasks.registry import TASKS as KINDS

FOLDER = Path(load_config.__code__.co_filename).parents[1] / "search_configs"
_KEYS = st.sampled_from([*SearchConfig.model_fields, *DetectionSettings.model_fields]) | st.text(max_size=8)


def _shipped(name: str) -> dict:
    return read_yaml(FOLDER / f"{name}.yaml")


def mistake(values: dict) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(values, "f.yaml")
    return str(caught.value).splitlines()


class TestShippedFiles:
    def test_a_tasks_file_says_the_defaults(self) -> None:
        for task in ("detection", "classification"):
            assert load_config(task) == load_config(None, {"task": task})
        assert load_config("detection") == parse_config({"task": "detection"})
        defaults, config = parse_config({"task": "classification"}), load_config("classification")
        assert (config.own, config.reinforce) == (defaults.own, defaults.reinforce)

    def test_the_default_files_have_every_key_and_explain(self) -> None:
        all_keys = {task: _keys(parse_config({"task": task}).model_dump()) for task in task_names()}
        reinforce = {key for key in all_keys["detection"] if key.partition(".")[0] == "reinforce"}
        own = {key for key in all_keys["classification"] if key.partition(".")[0] == "classification"}
        assert _keys(_shipped("detection")) == all_keys["detection"] - reinforce
        keys = _keys(_shipped("classification"))
        assert keys >= reinforce | own | {"task"}
        # What its trainings, so much shorter, leave room for.
        rest = {key.partition(".")[0] for key in keys - reinforce - own - {"task"}}
        assert rest == {"proxy", "evolution", "audit"}
        for name, least in (("detection", 90), ("classification", 25)):
            assert (FOLDER / f"{name}.yaml").read_text().count("#") > least

    @pytest.mark.parametrize("task", ["faces", "reid"])
    def test_other_tasks_files_have_the_keys_of_their_own(self, task: str) -> None:
        shared = section_of("classification").model_fields.keys()
        own = section_of(task).model_fields.keys()
        assert _shipped(task)[task].keys() >= own - shared
        assert load_config(task).own == section_of(task)()

    @pytest.mark.parametrize("name", config_names())
    def test_every_file_loads_and_survives_a_round_trip(self, name: str, tmp_path: Path) -> None:
        config = load_config(name)
        path = tmp_path / "config.yaml"
        path.write_text(dump(config))
        assert load_config(path) == config
        assert parse_config(config.model_dump(mode="json")) == config

    def test_importing_it_imports_nothing_heavy(self) -> None:
        heavy = "print([m for m in ('torch', 'numpy', 'deap') if m in sys.modules])"
        code = f"import cse_autoloss.settings.load, cse_autoloss.runs, cse_autoloss.executors, sys; {heavy}"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert found.stdout.strip() == "[]"


class TestOverrides:
    def test_they_win_over_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("seed: 1\nevolution:\n  population: 7\n  tournament: 3\n")
        config = load_config(path, {"evolution.population": 9, "slot": "reg", "detection.data": "coco:/d"})
        assert (config.seed, config.slot, config.detection.data) == (1, "reg", "coco:/d")
        assert (config.evolution.population, config.evolution.tournament) == (9, 3)

    def test_generations_take_the_place_of_the_budget(self, tmp_path: Path) -> None:
        assert load_config(None, {"generations": 3}).budget is None
        assert load_config(None, {"generations": 3, "budget": "5m"}).budget == 300.0
        path = tmp_path / "mine.yaml"
        path.write_text("generations: 4\n")
        assert load_config(path).budget is None
        both = load_config(path, {"budget": "1m"})
        assert (both.generations, both.budget) == (4, 60.0)

    def test_their_mistakes_are_told_as_theirs(self) -> None:
        with pytest.raises(
            ConfigError, match=r"^options: evolution\.populaton: unknown key; did you mean 'population'\?$"
        ):
            load_config(None, {"evolution.populaton": 9})
        with pytest.raises(ConfigError, match=r"^options: budget: expected a time above 0"):
            load_config(None, {"budget": "soon"})
        with pytest.raises(ConfigError, match=r"options: seed\.x: seed is given as a value too"):
            load_config(None, {"seed": 1, "seed.x": 2})

    def test_a_frozen_value(self) -> None:
        with pytest.raises(ValueError, match="frozen"):
            load_config().seed = 3  # type: ignore[misc]
        assert hash(load_config()) == hash(load_config())


class Tabular(Section):
    """What a task of a user's can be told."""

    penalty: Positive = 0.5
    file: str


class TestTasks:
    def test_each_has_a_section_named_as_it(self) -> None:
        for task in task_names():
            config = parse_config({"task": task})
            assert (config.task, config.section) == (task, task)
            assert config.own is getattr(config, task)
            assert type(config) is config_model(task, section_of(task))
            assert task in dump(config)

    def test_a_users_task_brings_its_own(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("task: my.py:Tabular\nTabular:\n  file: a.csv\nseed: 3\n")
        config = load_config(path, {"own.penalty": "1e-1"}, lambda task: {"my.py:Tabular": Tabular}[task])
        assert config.own == Tabular(penalty=0.1, file="a.csv")
        path.write_text(dump(config))
        assert load_config(path, section=lambda task: Tabular) == config
        with pytest.raises(ConfigError, match=r"^mine\.yaml: task: expected 'classification', "):
            load_config(path)
        with pytest.raises(
            ConfigError, match=r"^options: Tabular\.penalty: expected a number above 0, got 0$"
        ):
            load_config(path, {"own.penalty": 0}, lambda task: Tabular)
        with pytest.raises(ConfigError, match=r"^options: Tabular\.file: missing$"):
            load_config(None, {"task": "my.py:Tabular"}, lambda task: Tabular)

    @pytest.mark.parametrize("name", ["audit", "own", "copy", "_x", "a b", "", "model_x"])
    def test_names_that_no_task_can_have(self, name: str) -> None:
        with pytest.raises(ConfigError, match="config: task: a task can't be called "):
            parse_config({"task": f"my.py:{name}"}, section=lambda task: Tabular)

    def test_options_for_whatever_task(self) -> None:
        config = load_config("faces", {"own.epochs": 3, "faces.epochs": 4, "own.lr": 0.2})
        assert (config.faces.epochs, config.faces.lr) == (4, 0.2)
        with pytest.raises(ConfigError, match=r"^options: faces\.label_noise: unknown key"):
            load_config("faces", {"own.label_noise": 0.1})

    def test_changes_are_checked(self) -> None:
        config = changed(load_config(), {"detection.lr": 0.2, "seed": 2})
        assert (config.detection.lr, config.seed) == (0.2, 2)
        with pytest.raises(ConfigError, match=r"^options: detection\.lr: expected a number above 0, got 0$"):
            changed(config, {"detection.lr": 0})

    def test_sections_made_in_python_are_refused_in_the_same_words(self) -> None:
        with pytest.raises(ConfigError) as caught:
            DetectionSettings(scenes={"size": [3, 99]}, dater="digits")
        assert str(caught.value).splitlines() == [
            "DetectionSettings: scenes.size: expected at most the canvas of 64 pixels, got 99",
            "DetectionSettings: dater: unknown key; did you mean 'data'?",
        ]
        with pytest.raises(ConfigError, match=r"^SceneSettings: digits\.1: expected one more value$"):
            SceneSettings(digits=[1])


TASKS = "'classification', 'detection', 'faces', 'regression', 'reid', 'segmentation' or 'several'"


def test_keys_of_old_configurations_of_reinforce_are_read(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(
        "task: classification\nsearch: {samples: 8, lr: 0.1}\ndata: {source: digits, val_share: 0.3}\n"
    )
    given = {"comparison.baselines": ["softmax"], "training.epochs": 3, "search.samples": 4}
    config = load_config(file, given)
    assert (config.reinforce.samples, config.reinforce.lr, config.reinforce.baselines) == (
        4,
        0.1,
        ("softmax",),
    )
    assert (config.own.data, config.own.val_share, config.own.epochs) == ("digits", 0.3, 3)
    assert load_config("classification", given).reinforce.baselines == ("softmax",)
    own = {"data": {"source": "mine"}}
    assert in_todays_keys(own, "data") == own  # of a task that is called so
    with pytest.raises(ConfigError, match=r"reinforce.baseline: unknown key; did you mean 'baselines'"):
        load_config("classification", {"comparison.baseline": []})


class TestMistakes:
    @pytest.mark.parametrize(
        ("values", "line"),
        [
            ({"evolution": {"populaton": 3}}, "evolution.populaton: unknown key; did you mean 'population'?"),
            ({"population": 3}, "population: unknown key; did you mean 'evolution.population'?"),
            ({"lr": 0.1}, "lr: unknown key; did you mean 'detection.lr'?"),
            ({"task": "detecton"}, f"task: expected {TASKS}, got 'detecton'; did you mean 'detection'?"),
            ({"task": 5}, f"task: expected {TASKS}, got '5'"),
            ({"faces": {}}, "faces: the section of another task; the task is detection"),
            ({"task": "reid", "detection": {}}, "detection: the section of another task; the task is reid"),
            (
                {"zoo": {}},
                f"zoo: unknown key; expected one of: {', '.join(parse_config({}).model_dump())}",
            ),
            (
                {"executor": "poool"},
                "executor: expected 'pool', 'inprocess' or 'ray', got 'poool'; did you mean 'pool'?",
            ),
            ({"slot": ""}, "slot: expected some text, got ''"),
            (
                {"evolution": {"population": -1}},
                "evolution.population: expected a number of at least 2, got -1",
            ),
            (
                {"evolution": {"population": "many"}},
                "evolution.population: expected a whole number, got 'many'",
            ),
            ({"evolution": {"population": 2.5}}, "evolution.population: expected a whole number, got 2.5"),
            ({"evolution": 5}, "evolution: expected a section with keys, got 5"),
            (
                {"evolution": {"crossover": 0.9}},
                "evolution: expected crossover + subtree_mutation + point_mutation <= 1, got 1.35"
                " (constant mutation gets the rest)",
            ),
            (
                {"evolution": {"init_depth": [2, 50]}},
                "evolution.init_depth: expected at most max_depth = 16, got 50",
            ),
            (
                {"evolution": {"init_depth": [5, 2]}},
                "evolution.init_depth: expected [least, most], got [5, 2]",
            ),
            ({"evolution": {"init_depth": [5]}}, "evolution.init_depth.1: expected one more value"),
            (
                {"evolution": {"init_depth": [1, 2, 3]}},
                "evolution.init_depth: expected no more than 2 values, got 3",
            ),
            ({"device": "gpu"}, "device: expected 'auto', 'cpu' or 'cuda', got 'gpu'; did you mean 'cuda'?"),
            ({"audit": {"share": 1}}, "audit.share: expected a number below 1, got 1"),
            ({"audit": {"ranges": {"lr": [1]}}}, "audit.ranges.lr.1: expected one more value"),
            ({"audit": {"ranges": {"lr": 1}}}, "audit.ranges.lr: expected a list, got 1"),
            ({"audit": {"ranges": {"lr": [0.5, 0]}}}, "audit.ranges.lr.1: expected a number above 0, got 0"),
            (
                {"audit": {"ranges": {"lr": [2, 1]}}},
                "audit.ranges: lr: expected [least, most], got [2.0, 1.0]",
            ),
            ({"audit": {"ranges": [1.0]}}, "audit.ranges: expected a section with keys, got [1.0]"),
            (
                {"audit": {"inner": 4}},
                "audit.inner: unknown key; trainings of each contestant's tuning are audit.tuning",
            ),
            (
                {"audit": {"grid": {"lr": [1.0]}}},
                "audit.grid: unknown key; the least and greatest factor of a tunable are in audit.ranges",
            ),
            ({"simulate": {"width": 6}}, "simulate.width: expected a multiple of 4, got 6"),
            ({"seed": True}, "seed: expected a number, got true"),
            ({"seed": None}, "seed: expected a whole number, got nothing"),
            ({"detection": {"lr": math.inf}}, "detection.lr: expected a finite number, got inf"),
            ({"detection": {"skip_bad": "maybe"}}, "detection.skip_bad: expected true or false, got 'maybe'"),
            (
                {"detection": {"data": "csv:x"}},
                "detection.data: expected 'careless-digits', 'digits', a folder, 'coco:DIR', 'yolo:DIR' or 'voc:DIR', "
                "got 'csv:x'",
            ),
            (
                {"budget": None},
                "expected a budget or a number of generations: with neither, a search never ends",
            ),
            ({"budget": -1}, "budget: expected a time above 0 like '20m', '60s' or '1h30m', got '-1'"),
            ({"seed_losses": ["I", 3]}, "seed_losses.1: expected text, got 3"),
            ({"out": 3}, "out: expected a path, got 3"),
            (
                {"detection": {"scenes": {"size": [12, 80]}}},
                "detection.scenes.size: expected at most the canvas of 64 pixels, got 80",
            ),
        ],
    )
    def test_one_line_each(self, values: dict, line: str) -> None:
        assert mistake(values) == [f"f.yaml: {line}"]

    def test_several_mistakes_stand_on_a_line_each(self) -> None:
        lines = mistake(
            {
                "sed": 1,
                "evolution": {"population": -1, "tournament": "x"},
                "audit": {"ranges": {"lr": ["x", 0]}},
            }
        )
        assert len(lines) == 5
        assert all(line.startswith("f.yaml: ") for line in lines)

    def test_hostile_values_are_shown_shortened(self) -> None:
        (line,) = mistake({"executor": "x" * 100_000})
        assert len(line) < 200

    def test_a_wrong_name_or_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"^smok: no such configuration; did you mean 'smoke'\?$"):
            load_config("smok")
        with pytest.raises(
            ConfigError,
            match=r"expected a file or one of: cifar10, .*detection, .*detection_two_stage, .*smoke$",
        ):
            load_config("qqqqqq")
        with pytest.raises(ConfigError, match="no such file"):
            load_config(tmp_path / "none.yaml")
        with pytest.raises(ConfigError, match="can't be read"):
            load_config(tmp_path)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4),
            max_leaves=8,
        )
    )
    def test_any_values_load_or_are_refused_in_words(self, value: object) -> None:
        for name in ("evolution", "budget", "workers", "seed_losses", "detection"):
            line = _outcome({name: value})
            assert line == "" or line.startswith("config: ")
            assert "\n\n" not in line


def _outcome(values: dict) -> str:
    try:
        parse_config(values)
    except ConfigError as error:
        return str(error)
    return ""


def _keys(values: dict, prefix: str = "") -> set[str]:
    names = set()
    for key, value in values.items():
        names.add(prefix + key)
        if isinstance(value, dict):
            names |= _keys(value, f"{prefix}{key}.")
    return names


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({}, (2, 0.5, 0.3, 0.1)),
        ({"data": "digits"}, (0, 0.0, 0.0, 0.0)),
        ({"data": "digits", "faults": {"unlabelled": 0.5}}, (0, 0.0, 0.5, 0.0)),
        ({"faults": {"unlabelled": 0.5, "mislabelled": None}}, (2, 0.5, 0.5, 0.1)),
        ({"scenes": {"clutter": 0, "canvas": 32, "size": [4, 16]}}, (0, 0.5, 0.3, 0.1)),
        ({"data": "coco:somewhere"}, (0, 0.0, 0.0, 0.0)),
        ({"data": "photographs", "faults": {"mislabelled": 0.2}}, (0, 0.0, 0.0, 0.2)),
    ],
)
def test_scenes_and_faults_are_of_the_data_unless_they_are_told(
    values: dict[str, Any], wanted: tuple[float, ...]
) -> None:
    own = DetectionSettings.model_validate(values)
    found = (own.scenes.clutter, own.scenes.class_exponent, own.faults.unlabelled, own.faults.mislabelled)
    assert found == wanted
    again = DetectionSettings.model_validate(own.model_dump(mode="json"))
    assert again == own


def test_the_clean_scenes_have_a_configuration() -> None:
    clean = load_config("clean").own
    assert clean == load_config(None, {"detection.data": "digits"}).own
    assert clean.scenes == SceneSettings()
    assert not clean.faults.notes
    # Whoever copies the file of all settings and names photographs gets no faults into them.
    copied = load_config("detection", {"detection.data": "coco:somewhere"}).own
    assert not copied.faults.notes


@pytest.mark.parametrize(
    ("task", "meant"),
    [
        ("regression", "did you mean 'csv:"),
        ("segmentation", "did you mean 'folder:"),
        ("reid", "did you mean 'market:"),
        ("faces", "did you mean 'folder:"),
        ("classification", "did you mean 'folder:"),
    ],
)
def test_data_named_without_their_kind_are_told_with_it(task: str, meant: str, tmp_path: Path) -> None:
    with pytest.raises(AutoLossError) as told:
        KINDS.get(task)(load_config(None, {"task": task, "own.data": str(tmp_path)}, section_of).own).check()
    assert meant in str(told.value)
    with pytest.raises(AutoLossError) as told:
        KINDS.get(task)(load_config(None, {"task": task, "own.data": "nowhere"}, section_of).own).check()
    assert "did you mean" not in str(told.value)
