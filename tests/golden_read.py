"""What a run found, as plain JSON: what must stay the same however the package and its store are reshaped.

Times, paths, ids, keys and dates are left out. All that knows the store's columns and the summary's names stands in
this file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from cse_autoloss.runs import Candidate, RunStore, Score
from cse_autoloss.spaces.baselines import BASELINES
from cse_autoloss.verdict import Verdict

Json = dict[str, Any]


def evolved(directory: Path) -> Json:
    """What a run of `evolve` found."""
    summary = _summary(directory)
    slots = summary["slots"]
    with RunStore.read(directory) as store:
        candidates = [(one, _by_stage(store.verdicts(one.id))) for one in store.candidates()]
        return {
            "candidates": [
                _candidate(one, slots) | {"verdicts": [_verdict(verdict) for verdict in verdicts]}
                for one, verdicts in candidates
                if verdicts[0].accepted
            ],
            # Most of them: a row each.
            "rejected": [
                [*_candidate(one, slots).values(), *_verdict(verdicts[0]).values()]
                for one, verdicts in candidates
                if not verdicts[0].accepted
            ],
            "populations": [
                [slots[one.slot], one.generation, one.stage, one.source, one.population]
                for one in store.rejected()
            ],
            "scores": [_score(one) for one in store.scores()],
            "counts": {"passed": summary["funnel"], "stopped": summary["rejected"]},
            "hall_of_fame": {
                slots[slot]: [
                    {
                        "formula": one["formula"],
                        "name": one["name"],
                        "origin": one["origin"],
                        "val": one["val"],
                        "seeds": one["seeds"],
                    }
                    for one in members
                ]
                for slot, members in summary["hall_of_fame"].items()
            },
            "audit": {
                "verdict": summary["verdict"],
                "gain": summary["best"]["gain"],
                "noise_floor": summary["paired_noise"],
                "best": _contestant(summary["best"]),
                "contestants": [
                    {"name": one["name"], **_contestant(one)}
                    for one in (*summary["winners"], *summary["baselines"])
                ],
                # A remark that reports have had since the golden runs were recorded.
                "notes": [note for note in summary["notes"] if not note.startswith("what was found for")],
            },
        }


def reinforced(directory: Path) -> Json:
    """What a run of `reinforce` found."""
    summary = _summary(directory)
    exported = json.loads((directory / "best" / "loss.json").read_text(encoding="utf-8"))
    weights = torch.load(directory / "best" / "model.pt", weights_only=True)
    with RunStore.read(directory) as store:
        config, scores = store.config, store.scores()
    search = config["reinforce"]
    seeds = range(config["seed"], config["seed"] + search["seeds"])
    searches = ["searched"]
    if "softmax, best of B" in summary["by_seed"]:
        searches.append("control")
    contestants = [*summary["winners"], *summary["baselines"]]
    return {
        "baselines": {
            name: [_baseline(scores, name, f"{name}-{seed}") for seed in seeds]
            for name in search["baselines"]
        },
        "searches": {
            name: [
                _search(scores, f"{name}-{seed}-{factor:g}")
                for seed in seeds
                for factor in search["lr_factors"]
            ]
            for name in searches
        },
        "contestants": [
            {
                "name": "searched" if one in summary["winners"] else one["name"],
                "val": one["val"],
                "test": {name: one["test"][name] for name in ("mean", "low", "high")},
                "tests": [row["test"] for row in summary["by_seed"][one["name"]]],
            }
            for one in contestants
        ],
        "verdict": {
            "sense": summary["verdict"].partition(" than the best baseline, ")[0],
            "over": summary["verdict"].partition(" than the best baseline, ")[2].partition(" (")[0],
        },
        "gains": summary["gains"],
        "mu": {"start": summary["mu"]["start"], "ends": summary["mu"]["ends"]},
        "exported": {
            "seed": summary["mu"]["seed"],
            "space": exported["space"],
            "theta": exported["theta"],
            "model": _digest(weights),
        },
    }


def _summary(directory: Path) -> Json:
    summary: Json = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    return summary


def _candidate(one: Candidate, slots: Mapping[str, str]) -> Json:
    return {
        "branch": slots[one.slot],
        "generation": one.generation,
        "origin": one.origin,
        "formula": one.formula,
    }


def _by_stage(verdicts: Mapping[str, Verdict]) -> list[Verdict]:
    """In the order of the filters."""
    return sorted(verdicts.values(), key=lambda verdict: ("verify", "simulate").index(verdict.stage))


def _verdict(one: Verdict) -> Json:
    return {
        "stage": one.stage,
        "accepted": one.accepted,
        "why": "" if one.accepted else one.code or one.reason,
        "figure": _float(one.figure),
    }


def _score(one: Score) -> Json:
    return {
        "purpose": one.purpose,
        "losses": dict(one.losses),
        "settings": _floats(one.settings),
        "split": one.split,
        "seed": one.seed,
        "epochs": float(one.epochs),
        "status": one.status,
        "metrics": _floats(one.metrics),
    }


def _contestant(one: Mapping[str, Any]) -> Json:
    return {
        "losses": one["losses"],
        "settings": _floats(one["settings"]),
        "val": one["val"],
        "test": one["test"],
    }


def _baseline(scores: list[Score], name: str, training: str) -> Json:
    val, test = _ended(scores, training)
    return {
        "setting": _theta(val)[0] if BASELINES[name].setting else None,
        "lr_factor": val.extra["lr_factor"],
        "val": val.metrics["accuracy"],
        "test": None if test is None else dict(test.metrics),
    }


def _search(scores: list[Score], training: str) -> Json:
    val, test = _ended(scores, training)
    path = [one for one in scores if one.purpose == "epoch" and one.extra["training"] == training]
    return {
        "lr_factor": val.extra["lr_factor"],
        "val": val.metrics["accuracy"],
        "test": None if test is None else dict(test.metrics),
        "mu": _theta(val),
        "path": [_epoch(one) for one in sorted(path, key=lambda one: one.epochs)],
    }


def _epoch(one: Score) -> Json:
    sound = [reward for reward in one.extra["rewards"] if reward is not None]
    return {
        "mu": _theta(one),
        "best": one.extra["best"],
        "reward": one.metrics["accuracy"],
        "mean_reward": sum(sound) / len(sound),
        "failed": len(one.extra["rewards"]) - len(sound),
    }


def _theta(one: Score) -> list[float]:
    """Of a parametric loss."""
    (text,) = one.losses.values()
    theta: list[float] = json.loads(text)["theta"]
    return theta


def _ended(scores: list[Score], training: str) -> tuple[Score, Score | None]:
    """The score of a training side by side after its last epoch, and on test, if it came to that."""
    own = [one for one in scores if one.extra.get("training") == training]
    (test,) = [one for one in own if one.split == "test"] or [None]
    return max((one for one in own if one.split == "val"), key=lambda one: one.epochs), test


def _floats(values: Mapping[str, Any]) -> Json:
    return {name: _float(value) for name, value in values.items()}


def _float(value: float | None) -> float | str | None:
    """A whole number as a float, as a column of the store gives it and JSON need not; what JSON has no number for as
    text."""
    if value is None:
        return None
    return float(value) if math.isfinite(value) else str(float(value))


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    """Of a model's weights, whatever they are called."""
    found = hashlib.sha256()
    for tensor in weights.values():
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()
