"""What a REINFORCE run leaves behind: summary.json, best/ with loss and model, plots, and a table."""

from __future__ import annotations

import json
import math
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cse_autoloss._version import __version__
from cse_autoloss.bench.statistics import bootstrap_interval, paired_difference
from cse_autoloss.export.parametric_source import torch_source
from cse_autoloss.losses.parametric import SPACE_TYPES, ParametricLoss
from cse_autoloss.reinforce.plots import plot_gradient, plot_mu
from cse_autoloss.reinforce.trainings import checkpoint_name
from cse_autoloss.runs import RunStore
from cse_autoloss.settings.load import SearchConfig
from cse_autoloss.settings.stacked import TrainingSettings
from cse_autoloss.spaces.parametric import ParametricSpace

Results = Mapping[str, Sequence[Mapping[str, Any]]]


def write_report(
    store: RunStore, config: SearchConfig, space: ParametricSpace, results: Results
) -> dict[str, Any]:
    """Write summary.json, best/ and plots/ into the run directory; the summary.

    Args:
        store: of the run.
        config: of the run.
        space: that was searched.
        results: "searched", the baselines' names and the control -> one result for each seed.
    """
    summary = summarise(store, config, space, results)
    _write(store.directory / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    store.set_meta("summary", summary)
    chosen = summary["searched"]["seed"]
    key = results["searched"][chosen - config.seed]["key"]
    theta = summary["mu"]["end"]
    best = store.directory / "best"
    best.mkdir(exist_ok=True)
    loss = ParametricLoss(space, theta)
    provenance = {
        "run": store.directory.name,
        "task": config.task,
        "data": config.own.model_dump(mode="json")["data"],
        "seed": chosen,
    }
    if isinstance(space, tuple(SPACE_TYPES.values())):  # of a space of your own the source is yours
        _write(best / "loss.py", torch_source(space, theta, provenance))
    document = {**loss.to_dict(), "provenance": provenance}
    _write(best / "loss.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    weights = store.directory / "checkpoints" / f"{checkpoint_name(key)}.best.pt"
    if weights.is_file():
        shutil.copyfile(weights, best / "model.pt")
    plots = store.directory / "plots"
    plots.mkdir(exist_ok=True)
    path = [summary["mu"]["start"], *(entry["mu"] for entry in epochs(store, config, key))]
    plot_mu(space, path, plots / "mu.png")
    plot_gradient(space, summary["mu"]["start"], theta, plots / "gradient.png")
    return summary


def epochs(store: RunStore, config: SearchConfig, key: str) -> list[dict[str, Any]]:
    """What the store kept of each epoch of a search."""
    found = (store.meta(f"epoch:{key}:{epoch}") for epoch in range(config.own_as(TrainingSettings).epochs))
    return [entry for entry in found if entry is not None]


def summarise(
    store: RunStore, config: SearchConfig, space: ParametricSpace, results: Results
) -> dict[str, Any]:
    """The summary as JSON values. Rivals and the exported search are chosen on validation, never on test."""
    searched = results["searched"]
    metric = next(iter(searched[0]["test"])) if config.metric is None else config.metric
    others = {name: rows for name, rows in results.items() if name != "searched"}
    best = max(range(len(searched)), key=lambda i: searched[i]["val"])
    rival = max(others, key=lambda name: _mean([row["val"] for row in others[name]]))
    confidence = config.audit.confidence

    def row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        values = [_value(item, metric) for item in rows]
        return {
            "test": bootstrap_interval(values, confidence=confidence).to_dict(),
            "val": _mean([item["val"] for item in rows]),
            "tests": [dict(item["test"]) for item in rows],
        }

    def gain(over: str) -> dict[str, Any]:
        pairs = [[_value(item, metric) for item in rows] for rows in (searched, results[over])]
        return {"over": over, **paired_difference(pairs[0], pairs[1], confidence=confidence).to_dict()}

    seconds = store.seconds()
    total = sum(seconds.values())
    gains = [gain(rival)] + ([gain("softmax")] if rival != "softmax" and "softmax" in results else [])
    summary = {
        "version": __version__,
        "status": store.status,
        "space": space.name,
        "settings": space.to_dict(),
        "task": config.task,
        config.section: config.own.model_dump(mode="json"),
        "metric": metric,
        "seeds": config.reinforce.seeds,
        "mu": {
            "parameters": list(space.parameters),
            "start": list(space.start),
            "end": searched[best]["mu"],
            "ends": [item["mu"] for item in searched],
        },
        "baselines": [
            {
                "name": name,
                "settings": [{"setting": r.get("setting"), "lr_factor": r["lr_factor"]} for r in rows],
                **row(rows),
            }
            for name, rows in others.items()
        ],
        "searched": {"seed": config.seed + best, **row(searched)},
        "gains": gains,
        "verdict": verdict(gains[0], metric),
        "seconds": {name: round(value, 2) for name, value in {**seconds, "total": total}.items()},
    }
    finite: dict[str, Any] = _finite(summary)
    return finite


def verdict(gain: Mapping[str, Any], metric: str) -> str:
    """What may be claimed, in one sentence."""
    span = f"{gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]"
    if gain["low"] > 0:
        return f"Better than the best baseline, {gain['over']}, on the test images: {metric} {span}."
    if gain["high"] < 0:
        return f"Worse than the best baseline, {gain['over']}, on the test images: {metric} {span}."
    return f"No better than the best baseline, {gain['over']}, on the test images: {metric} {span}."


def table(summary: Mapping[str, Any]) -> str:
    """The summary as lines of text of at most 80 characters, best validation first."""
    rows = [*summary["baselines"], {"name": f"{summary['space']} (searched)", **summary["searched"]}]
    lines = [f"{'loss':28} {'val':>8} {'test ' + summary['metric']:>14}   interval"]
    for item in sorted(rows, key=lambda r: -r["val"]):
        test = item["test"]
        span = "-" if test["low"] is None else f"[{test['low']:.4f}, {test['high']:.4f}]"
        lines.append(f"{item['name']:28} {item['val']:8.4f} {test['mean']:14.4f}   {span}")
    return "\n".join([*lines, *textwrap.wrap(summary["verdict"], 80, break_on_hyphens=False)])


def _value(result: Mapping[str, Any], metric: str) -> float:
    return float(result["test"][metric])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
