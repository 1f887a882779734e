"""The table at the end of a search, as wide as the narrowest usual terminal."""

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from cse_autoloss.report.table import print_summary


def entry(name: str, ap: float) -> dict[str, Any]:
    test = {"mean": ap, "low": ap - 0.01, "high": ap + 0.01, "seeds": [ap] * 5}
    return {"name": name, "settings": {"box_weight": 0.03125, "lr": 0.0375}, "val": 0.7123, "test": test}


def test_every_column_is_whole_in_eighty() -> None:
    summary = {
        "best": None,
        "metric": {"name": "ap", "title": "AP", "factor": 100.0, "higher": True, "digits": 2},
        "winners": [entry("discovered 1", 0.7511)],
        "baselines": [entry("cse-autoloss-b-cls + cse-autoloss-b-reg", 0.7398)],
        "paired_noise": 0.002,
        "verdict": "Better.",
        "funnel": dict.fromkeys(("generated", "duplicates", "verified", "simulated", "trained"), 1),
        "seconds": {"total": 10.0},
        "overhead": 0.01,
        "notes": ["audit: 1x1 [of 3x2] settings tried"],
    }
    out = io.StringIO()
    print_summary(summary, Path("runs/one"), Console(file=out, width=80))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if "interval" in line)
    assert header.split() == ["loss", "AP", "95", "%", "interval", "box", "weight", "lr", "AP", "on", "val"]
    row = next(line for line in lines if "discovered 1" in line)
    assert row.split()[2:] == ["75.11", "[74.1,", "76.1]", "0.03125", "0.0375", "71.2"]
    assert "[of 3x2]" in out.getvalue()
    assert "mean difference of two equal losses by ±0.20 AP (1 sd)." in " ".join(out.getvalue().split())
