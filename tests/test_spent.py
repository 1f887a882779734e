"""What trainings took is told: time and memory, for people and in the summary."""

from __future__ import annotations

from pathlib import Path

from task_samples import TINY

import cse_autoloss
from cse_autoloss.bench.spent import peak_memory, spent_text
from cse_autoloss.compare.table import print_comparison


def test_a_run_and_a_comparison_tell_what_a_training_took(tmp_path: Path, capsys: object) -> None:
    own = {"own__train_limit": 100, "own__model": "mlp"}
    run = cse_autoloss.evolve("classification", out=tmp_path / "run", **TINY, **own)
    told = run.summary["utilisation"]
    assert told["trainings"] > 0
    assert told["training_seconds"] > 0
    assert 1e7 < told["memory"] < 1e11
    overrides = {"audit.tuning": 1, "audit.epochs": 1, "own.train_limit": 100}
    _, result = cse_autoloss.compare_losses(
        ["mae", "cross-entropy"],
        task="classification",
        seeds=2,
        tune=False,
        out=tmp_path / "c",
        overrides=overrides,
    )
    assert result.spent.startswith("One training took, in the median of 4, ")
    print_comparison(result, tmp_path)
    assert " GiB of memory a worker" in capsys.readouterr().out.replace("\n", " ")  # type: ignore[attr-defined]


def test_words() -> None:
    assert spent_text({}) == ""
    one = {"what": "training", "trainings": 1, "training_seconds": 8.44, "memory": 0}
    assert spent_text(one) == "One training took 8.44 s."
    assert peak_memory("cpu") > 1e7
