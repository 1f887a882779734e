"""`evolve --detector`: which settings it brings, and what it says of names that it does not know."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from cse_autoloss.cli.app import main
from cse_autoloss.detectors.registry import DETECTORS, detector_builder
from cse_autoloss.settings.load import SearchConfig, config_for, config_names, load_config

GUIDE = Path(__file__).parents[1] / "docs" / "plugin_detector.md"


def settled(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> SearchConfig:
    """The configuration that a command would search with."""
    seen: dict[str, Any] = {}

    def stop(task: str, *, config: Any, overrides: Any, **others: Any) -> Any:
        seen["config"] = load_config(config or task, overrides)
        raise KeyboardInterrupt

    monkeypatch.setattr("cse_autoloss.discovery.launch.launch", stop)
    monkeypatch.setattr(sys, "argv", ["cse-autoloss", "evolve", "--quiet", *arguments])
    with pytest.raises(SystemExit):
        main()
    found: SearchConfig = seen["config"]
    return found


def test_a_detector_brings_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = settled(monkeypatch)
    two = settled(monkeypatch, "--detector", "two-stage")
    assert plain.detection.detector == "one-stage"
    assert two.detection.detector == "two-stage"
    assert two.detection.scenes.clutter > plain.detection.scenes.clutter, "those of detection_two_stage.yaml"
    assert settled(monkeypatch, "--detector", "one-stage") == plain
    for name in ("one-stage-pyramid", "two-stage-pyramid"):
        pyramid = settled(monkeypatch, "--detector", name, "--set", "proxy.epochs=3")
        assert pyramid.detection.detector == name
        assert pyramid.detection.image_size > plain.detection.image_size
        assert pyramid.proxy.epochs == 3, "options win over the detector's settings"


def test_a_configuration_that_is_asked_for_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    config = settled(monkeypatch, "--detector", "two-stage", "--config", "smoke")
    expected = load_config("smoke", {"detection.detector": "two-stage"})
    assert config == expected
    mine = settled(monkeypatch, "--detector", "my_file.py:Mine")
    assert mine == load_config(None, {"detection.detector": "my_file.py:Mine"})


def test_configurations_of_detectors_name_detectors() -> None:
    assert config_for("one-stage") is None
    assert {config_for(name) for name in DETECTORS.built_in} - {None} == {
        name for name in config_names() if name.startswith("detection_")
    }
    for name in DETECTORS.built_in:
        assert load_config(config_for(name)).detection.detector == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two-stge", "unknown detector 'two-stge'; did you mean 'two-stage'?"),
        ("one-stage-pyramide", "did you mean 'one-stage-pyramid'?"),
        ("nothing.py:Mine", "no such file: nothing.py"),
    ],
)
def test_mistakes(
    name: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    arguments = ["evolve", "--quiet", "--detector", name, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["cse-autoloss", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_guides_command_and_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    command = re.search(r"cse-autoloss evolve --detector (my_detector\.py:\w+)", text)
    source = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert command is not None
    assert source is not None
    monkeypatch.chdir(tmp_path)
    Path("my_detector.py").write_text(source.group(1), encoding="utf-8")
    config = settled(monkeypatch, "--detector", command.group(1))
    assert detector_builder(config.detection.detector).signature == "cls-multiclass"
