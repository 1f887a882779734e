"""Model optimisation simulation: does a small model learn with this loss, on one image of each category?

Source: Liu et al., ICLR 2021 (CSE-Autoloss), section on the model optimisation simulation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import torch

from cse_autoloss.errors import ConfigError, FormulaError
from cse_autoloss.graph import LossGraph
from cse_autoloss.settings.filters import SimulateSettings
from cse_autoloss.simulation.heads import Outcome, StackedHeads
from cse_autoloss.simulation.small_model import Cells, SimulationData, choose_cells, make_targets
from cse_autoloss.simulation.small_trunk import frozen_features
from cse_autoloss.spaces import parse, plain_of, signature_of
from cse_autoloss.verdict import Verdict

__all__ = ["SimulateSettings", "Simulator"]

Scored = Literal["cls", "reg"]
_Pair = tuple[LossGraph | None, LossGraph | None]

_BACKGROUND = 96
"""Cells of the background that are looked at: more change nothing but the time."""
_ENOUGH = 0.5
"""A classification loss that ranks the cells this well, in shares of the default, ranks well enough: in a
training of thirty steps more of it is haste."""
_BLOCK = 64
"""Candidates that are trained side by side; more gain nothing, and their values leave the cache."""
_BLOCK_NUMBERS = 500_000
"""Logits that are held side by side: where there are many images and classes, blocks are smaller, so that a
block takes 200 MB at most, or what one candidate takes."""


class Simulator:
    """Trains small models on fixed images; features and the default losses' scores are computed once."""

    def __init__(
        self, settings: SimulateSettings, data: SimulationData, device: str | torch.device = "cpu"
    ) -> None:
        """
        Args:
            settings: of the training.
            data: the images.
            device: where the small models are trained.
        """
        self.settings = settings
        self._device = torch.device(device)
        self._targets = make_targets(data)
        if self._targets.positive.numel() == 0:
            raise ConfigError("simulation: no object on its images covers the centre of an 8x8 cell")
        self._cells: Cells | None = None
        self._defaults: dict[tuple[str, Scored], tuple[float, float]] = {}

    def run(
        self, graph_cls: LossGraph | None, graph_reg: LossGraph | None, *, alpha: float | None = None
    ) -> Verdict:
        """Try a candidate; a slot that is None uses its default loss (BCE, or CE, and GIoU).

        Args:
            graph_cls: of the binary or the multi-class signature.
            graph_reg: of box losses.
            alpha: weights a binary classification loss by α·y + (1 − α)(1 − y).

        Returns:
            A verdict; its figure is the share of the default loss's score that was reached. Codes of
            rejections: "diverged" (not finite), "does-not-learn" (below the share).
        """
        started = time.perf_counter()
        signature, scored = _kind(graph_cls, graph_reg)
        default = self.default_score(signature, scored=scored)
        (found,) = self._scores(signature, scored, [(graph_cls, graph_reg)], alpha)
        return self._verdict(*found, default, time.perf_counter() - started)

    def run_batch(self, graphs: Sequence[LossGraph], *, alpha: float | None = None) -> list[Verdict]:
        """Try many candidates at once, each with the default loss in the other slot.

        The verdicts are those of `run`, whoever else is in the batch. The seconds of a verdict are the
        candidate's part of the batch's.

        Args:
            graphs: of any signatures.
            alpha: weights binary classification losses by α·y + (1 − α)(1 − y).
        """
        verdicts: dict[int, Verdict] = {}
        for kind in sorted({graph.signature.name for graph in graphs}):
            members = [number for number, graph in enumerate(graphs) if graph.signature.name == kind]
            plain = plain_of(graphs[members[0]].signature).name
            scored: Scored = "reg" if plain == "reg" else "cls"
            signature = "cls-binary" if plain == "reg" else plain
            size = self._block_size()
            for start in range(0, len(members), size):
                default = self.default_score(signature, scored=scored)
                started = time.perf_counter()
                block = members[start : start + size]
                pairs = [(None, graphs[n]) if plain == "reg" else (graphs[n], None) for n in block]
                found = self._scores(signature, scored, pairs, alpha)
                seconds = (time.perf_counter() - started) / len(block)
                for number, (score, step) in zip(block, found, strict=True):
                    verdicts[number] = self._verdict(score, step, default, seconds)
        return [verdicts[number] for number in range(len(graphs))]

    def default_score(self, signature: str, *, scored: Scored = "cls") -> float:
        """What the default losses reach with the heads of that classification signature, in [0, 1].

        Args:
            signature: "cls-binary" or "cls-multiclass".
            scored: the slot whose candidates are compared with it.
        """
        return self._score(*self._default(signature, scored), signature, scored)

    def score(
        self, graph_cls: LossGraph | None, graph_reg: LossGraph | None, *, alpha: float | None = None
    ) -> tuple[float | None, int]:
        """The score after training, and the steps made; None where something was not finite.

        A box loss is scored by average precision over cells, where a right class gains its box's IoU. A
        classification loss is scored by the average precision of the classes alone, up to half of what the
        default reaches, times the boxes' mean IoU: how well it ranks, and what it leaves to the other slot.
        """
        signature, scored = _kind(graph_cls, graph_reg)
        (found,) = self._scores(signature, scored, [(graph_cls, graph_reg)], alpha)
        return found

    def _scores(
        self, signature: str, scored: Scored, pairs: Sequence[_Pair], alpha: float | None
    ) -> list[tuple[float | None, int]]:
        """As `score`, for pairs that have losses of their own in the same slots."""
        outcome = self._train(signature, scored, pairs, alpha)
        rows = zip(
            outcome.precision.tolist(), outcome.overlap.tolist(), outcome.stopped.tolist(), strict=True
        )
        return [
            (self._score(precision, overlap, signature, scored), self.settings.steps)
            if step < 0
            else (None, step)
            for precision, overlap, step in rows
        ]

    def _score(self, precision: float, overlap: float, signature: str, scored: Scored) -> float:
        if scored == "reg":
            return precision
        enough, _ = self._default(signature, scored)
        return min(precision, _ENOUGH * enough) * overlap

    def _default(self, signature: str, scored: Scored) -> tuple[float, float]:
        """Precision and overlap of the default loss, which stands in its slot as a candidate does, so that it
        reaches its own score to the last digit."""
        key = signature, scored
        if key not in self._defaults:
            name = signature if scored == "cls" else "reg"
            graph = parse(signature_of(name).default, name)
            pair = (graph, None) if scored == "cls" else (None, graph)
            outcome = self._train(signature, scored, [pair], None)
            self._defaults[key] = outcome.precision.item(), outcome.overlap.item()
        return self._defaults[key]

    def _block_size(self) -> int:
        logits = len(self._frozen().labels) * (self._targets.num_classes + 1)
        return max(1, min(_BLOCK, _BLOCK_NUMBERS // logits))

    def _frozen(self) -> Cells:
        """The cells and their features, made at the first use."""
        if self._cells is None:
            features = frozen_features(self._targets, self.settings)
            cells = choose_cells(self._targets, features, _BACKGROUND, self.settings.seed)
            self._cells = cells.to(self._device)
        return self._cells

    def _train(self, signature: str, scored: Scored, pairs: Sequence[_Pair], alpha: float | None) -> Outcome:
        cls = [pair[0] for pair in pairs if pair[0] is not None]
        reg = [pair[1] for pair in pairs if pair[1] is not None]
        heads = StackedHeads(
            self._frozen(), signature, cls or None, reg or None, self.settings, scored, alpha
        )
        return heads.train()

    def _verdict(self, score: float | None, step: int, default: float, seconds: float) -> Verdict:
        if score is None:
            where = f"step {step + 1} of {self.settings.steps}"
            return Verdict(
                "simulate", False, f"training diverged: loss or gradient is not finite at {where}",
                None, seconds, where, "diverged",
            )  # fmt: skip
        share = score / default if default > 0 else 0.0
        against = f"{share:.0%} of the default loss's score ({score:.3f} of {default:.3f})"
        if share < self.settings.share:
            return Verdict(
                "simulate", False, f"small model does not learn: it reaches {against}", share, seconds,
                f"step {self.settings.steps}", "does-not-learn",
            )  # fmt: skip
        return Verdict("simulate", True, f"small model learns: it reaches {against}", share, seconds)


def _kind(graph_cls: LossGraph | None, graph_reg: LossGraph | None) -> tuple[str, Scored]:
    """The classification signature, and which of the two slots is on trial."""
    signature = plain_of(graph_cls.signature).name if graph_cls is not None else "cls-binary"
    if signature == "reg" or (graph_reg is not None and plain_of(graph_reg.signature).name != "reg"):
        raise FormulaError("Simulator.run(graph_cls, graph_reg): the graphs stand in each other's place")
    return signature, "reg" if graph_cls is None else "cls"
