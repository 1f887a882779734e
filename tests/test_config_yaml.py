"""YAML as configurations are written in, and durations."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cse_autoloss.errors import ConfigError
from cse_autoloss.settings.load import load_config, parse_config, parse_duration
from cse_autoloss.settings.plain_yaml import MOST_BYTES, dump_yaml, parse_yaml


class TestYaml:
    def test_values_mean_what_they_look_like(self) -> None:
        text = "a: 1e-3\nb: 010\nc: 1:30\nd: 2026-01-01\ne: yes\nf: ~\ng: [-.5, 7, true]\nh:\n"
        assert parse_yaml(text, "x") == {
            "a": 1e-3,
            "b": 10,
            "c": "1:30",
            "d": "2026-01-01",
            "e": "yes",
            "f": None,
            "g": [-0.5, 7, True],
            "h": None,
        }
        assert parse_config({"detection": {"skip_bad": "yes", "lr": "1e-3"}}).detection.lr == 1e-3

    def test_empty_sections_mean_the_defaults(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("evolution:\n  # population: 3\nseed: 4\n")
        assert load_config(path) == parse_config({"seed": 4})
        path.write_text("")
        assert load_config(path) == parse_config({})

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("seed: 1\nseed: 2", "x:2: not YAML: key 'seed' is given twice"),
            ("a: &x [1]\nb: [*x, *x]", "x:2: not YAML: aliases (*name) are not taken"),
            ("[" * 5000, "nested more than 20 levels deep"),
            ("{a: " * 5000, "nested more than 20 levels deep"),
            ("- a\n- b", "x: expected 'key: value' lines, got list"),
            ("5", "x: expected 'key: value' lines, got int"),
            ("a: !!python/object/apply:os.system ['true']", "are not taken"),
            ("a: [", "x:1: not YAML"),
            ("? [1]\n: 2", "a key must be text"),
            ("a: " + "1" * 5000, "not YAML"),
            ("a: \0", "not YAML"),
            ("a: 1\n--- \nb: 2", "not YAML"),
        ],
    )
    def test_what_is_refused(self, text: str, words: str) -> None:
        with pytest.raises(ConfigError) as caught:
            parse_yaml(text, "x")
        assert words in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1
        assert len(str(caught.value)) < 300

    def test_a_huge_file_is_refused_unread(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.yaml"
        path.write_bytes(b"#" * (MOST_BYTES + 1))
        with pytest.raises(ConfigError, match="larger than 65536 bytes"):
            load_config(path)

    @given(
        st.dictionaries(
            st.text(
                st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=6
            ),
            st.none()
            | st.booleans()
            | st.integers(-(10**9), 10**9)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.sampled_from(
                ["1e3", "yes", "1:30", "", "~", "010", "null", "2026-01-01", "=", "<<", "0x1f", "1_000"]
            )
            | st.lists(st.text(st.characters(codec="ascii"), max_size=6), max_size=3),
            max_size=4,
        )
    )
    def test_what_is_dumped_reads_back_the_same(self, value: dict) -> None:
        assert parse_yaml(dump_yaml(value), "x") == value


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("20m", 1200),
            ("60s", 60),
            ("1h30m", 5400),
            ("90", 90),
            (7, 7),
            (0.5, 0.5),
            (" 1 H 5 s ", 3605),
            (".5m", 30),
        ],
    )
    def test_what_people_write(self, text: str | float, seconds: float) -> None:
        assert parse_duration(text) == seconds

    @pytest.mark.parametrize(
        "text", ["", "m", "0", "-5", "5m1h", "1e3", "soon", math.nan, math.inf, True, "1.2.3s", "9" * 400]
    )
    def test_what_is_none(self, text: str | float) -> None:
        with pytest.raises(ConfigError, match="expected a time above 0 like '20m'"):
            parse_duration(text)
