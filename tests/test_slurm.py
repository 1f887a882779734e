"""The Slurm script of docs/cluster.md, run with a scheduler that is not there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import typer

from cse_autoloss.cli.app import app

PAGE = Path(__file__).parents[1] / "docs" / "cluster.md"

# sbatch: the script's first #SBATCH lines become the job's environment, as Slurm's own would.
FAKES = {
    "sbatch": """
        export SLURM_SUBMIT_DIR="$PWD" SLURM_JOB_NODELIST='node[1-4]'
        export SLURM_JOB_NUM_NODES=$(sed -n 's/^#SBATCH.*--nodes=\\([0-9]*\\).*/\\1/p' "$1")
        exec bash -eu "$1" """,
    "scontrol": """
        [[ "$*" = "show hostnames node[1-4]" ]]
        printf 'node%d\\n' 1 2 3 4 """,
    "srun": """
        for node in 1 2 3 4; do "$@"; done """,
    "ray": """
        printf '%s\\n' "RAY_ADDRESS=$RAY_ADDRESS" "$@" > "$LOG.$(ls "$LOG".* 2> /dev/null | wc -l)" """,
}


def test_the_script_starts_one_cluster_and_one_search(tmp_path: Path) -> None:
    (script,) = (part for part in PAGE.read_text().split("```") if "#SBATCH" in part)
    (tmp_path / "job.sh").write_text(script.removeprefix("sh\n"))
    for name, body in FAKES.items():
        fake = tmp_path / name
        fake.write_text(f"#!/bin/bash\nset -eu\n{body}\n")
        fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "LOG": str(tmp_path / "log")}
    subprocess.run(["sbatch", "job.sh"], cwd=tmp_path, env=environment, check=True)
    told = [file.read_text().splitlines() for file in sorted(tmp_path.glob("log.*"))]
    assert len(told) == 4  # one a node, all the same: Ray itself finds out which of them is the head
    assert all(one == told[0] for one in told)
    begin = told[0].index("--")
    assert told[0][:4] == ["RAY_ADDRESS=node1:6379", "symmetric-run", "--address", "node1:6379"]
    assert told[0][4:begin] == ["--min-nodes", "4", "--num-cpus", "32", "--num-gpus", "4"]
    program, command, *options = told[0][begin + 1 :]
    assert (program, command) == ("cse-autoloss", "evolve")
    evolve = typer.main.get_command(app).commands["evolve"]  # type: ignore[attr-defined]
    with evolve.make_context("evolve", options) as context:  # what it does not know would raise
        assert context.params["out"] == tmp_path / "run"
        assert context.params["device"] == "cuda"
        assert "executor=ray" in context.params["settings"]
