"""Time and memory of people's data at full size: Market-1501's names and numbers, and 12,000 faces, as random pictures.

python benchmarks/people_sizes.py [--market 1.0] [--people 3000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

RUN = "from cse_autoloss.cli.app import main; main()"
PEAK = (
    "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20)"
)


def main() -> None:
    """Print a row for each command: seconds, and the peak memory of its largest process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", type=float, default=1.0, help="share of Market-1501's people")
    parser.add_argument("--people", type=int, default=3000, help="of the faces, four photographs each")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        count = write_market(root / "market", asked.market)
        write_faces(root / "faces", asked.people)
        print(
            f"{count:,} photographs of 64 x 128 in Market-1501's names, {4 * asked.people:,} faces of 92 x 112"
        )
        short = ["cross-entropy", "--no-tune", "--seeds", "1", "--epochs", "1", "--workers", "1", "-q"]
        market, faces = f"market:{root / 'market'}", f"folder:{root / 'faces'}"
        re_ranked = ["--set", "reid.re_rank=true"]
        for name, given in (
            ("data, Market", ["data", market, "-o", str(root / "market.png")]),
            ("one epoch, Market", ["compare", *short, "--task", "reid", "--data", market]),
            ("the same, re-ranked", ["compare", *short, "--task", "reid", "--data", market, *re_ranked]),
            ("data, faces", ["data", faces, "--task", "faces", "-o", str(root / "faces.png")]),
            ("one epoch, faces", ["compare", *short, "--task", "faces", "--data", faces]),
        ):
            out = ["--out", str(root / name)] if given[0] == "compare" else []
            started = time.perf_counter()
            command = [sys.executable, "-c", PEAK, sys.executable, "-c", RUN, *given, *out]
            code, peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            print(f"{name:20} {time.perf_counter() - started:5.0f} s  {float(peak):.2f} GiB", flush=True)
            assert code == "0", f"{name}: exit code {code}"


def write_market(root: Path, share: float) -> int:
    """751 people to train on and 750 to test with, with as many photographs as Market-1501 has."""
    people = max(8, round(750 * share))
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (root / name).mkdir(parents=True)
    for person in range(1, 2 * people + 1):
        own = np.random.default_rng(person)
        base = own.integers(40, 215, (8, 4, 3))
        learnt = person <= people
        for camera in range(1, 7):
            for number in range(3 if learnt else 4):
                folder = "bounding_box_train" if learnt else "bounding_box_test"
                _save(root / folder / f"{person:04d}_c{camera}s1_{number:06d}_00.jpg", base, own, (64, 128))
            if not learnt and camera <= 4 + person % 2:
                _save(root / "query" / f"{person:04d}_c{camera}s1_000009_00.jpg", base, own, (64, 128))
    return sum(1 for _ in root.glob("*/*.jpg"))


def write_faces(root: Path, people: int) -> None:
    """Four photographs of each."""
    for person in range(people):
        own = np.random.default_rng(10_000 + person)
        base = own.integers(40, 215, (6, 5, 1)).repeat(3, axis=2)
        (root / f"person{person:05d}").mkdir(parents=True)
        for number in range(4):
            _save(root / f"person{person:05d}" / f"{number}.jpg", base, own, (92, 112))


def _save(path: Path, base: np.ndarray, own: np.random.Generator, size: tuple[int, int]) -> None:
    pixels = np.clip(base + own.normal(0, 25, base.shape) + own.normal(0, 15, 3), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).resize(size).save(path)


if __name__ == "__main__":
    main()
