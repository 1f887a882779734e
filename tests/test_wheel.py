"""The wheel, installed in an empty environment: README's Python example runs there, far from the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALLER = {
    'evolve(budget="10m", seed=1)': 'evolve(config="smoke", executor="inprocess", device="cpu")',
    '"quality-focal+square-iou"], seeds=5)': '"quality-focal+square-iou"], seeds=1, tune=False, overrides=TINY)',
}
"""What takes minutes in README's example -> what takes seconds."""
TINY = {
    "executor": "inprocess",
    "device": "cpu",
    "audit.epochs": 0.5,
    "detection.scenes.counts": [32, 16, 16],
}


def _run(*command: object, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment that holds the wheel; the libraries are those of this one, the package here is not seen."""
    pytest.importorskip("setuptools")
    work = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    known = (ROOT / "pyproject.toml", ROOT / "README.md", ROOT / "LICENSE")
    for path in known:
        (work / path.name).write_bytes(path.read_bytes())
    for folder in ("cse_autoloss", "operators", "detectors"):
        (work / folder).symlink_to((ROOT / folder).resolve(), target_is_directory=True)
    _run(
        *pip,
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        work / "dist",
        work,
        cwd=work,
    )
    venv.create(work / "env", with_pip=False)
    place = work / "env" / "bin" / "python"
    (wheel,) = (work / "dist").glob("cse_autoloss-*.whl")
    _run(*pip, "--python", place, "install", "-q", "--no-deps", "--no-index", wheel, cwd=work)
    (own,) = (work / "env" / "lib").glob("python*/site-packages")
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def test_readmes_example_runs(python: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for long, short in SMALLER.items():
        assert long in block
        block = block.replace(long, short)
    told = f"print(cse_autoloss.__file__)\nTINY = {TINY!r}\n"
    script = tmp_path / "example.py"
    script.write_text(block.replace("import cse_autoloss\n", f"import cse_autoloss\n{told}", 1))
    first, *_ = _run(python, "-I", script, cwd=tmp_path).splitlines()
    assert Path(first).is_relative_to(python.parents[1])
    assert (tmp_path / "loss.py").stat().st_size > 0


def test_the_command_is_installed(python: Path, tmp_path: Path) -> None:
    assert "giou" in _run(python.parent / "cse-autoloss", "losses", cwd=tmp_path)
