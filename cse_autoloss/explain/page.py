"""`explain`: everything about one loss on one page that needs nothing but itself."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cse_autoloss.certify import QUICK, Certificate, certificate_of
from cse_autoloss.errors import AutoLossError, not_written
from cse_autoloss.explain.curves import Panel, panels, scale_dependence, scale_lines
from cse_autoloss.explain.parts import certified, curves, graph_image, properties
from cse_autoloss.explain.pictures import curve_figure, scale_figure, to_bytes
from cse_autoloss.explain.properties import Finding, findings
from cse_autoloss.explain.words import what_it_is
from cse_autoloss.export import draw, to_latex
from cse_autoloss.export.mathml import to_mathml
from cse_autoloss.graph import Signature
from cse_autoloss.losses import CATALOGUE, Entry, GraphLoss, ReducedLoss, load_loss
from cse_autoloss.losses.parametric import ParametricSchedule
from cse_autoloss.pages import Safe, document, el, image
from cse_autoloss.spaces import form_of
from cse_autoloss.spaces.boxes import SCALES, SIDE
from cse_autoloss.verdict import Verdict
from cse_autoloss.verification import verify

SCALE_DEPENDENT = 1e-3
"""A box loss that differs between scales by this share of its range depends on the scale."""


@dataclass(frozen=True)
class Explanation:
    """What is to be said of a loss.

    Attributes:
        name: the catalogue's name, or the formula.
        title: for people.
        signature: of the loss.
        formula: prefix notation, None for a plain torch module.
        latex: the same in LaTeX.
        entry: the catalogue's entry, where the loss was asked for by name.
        alias: which losses of the catalogue it is, or which is nearest, in words.
        certificate: what is proved of it; None where there is no formula.
        verdict: of the verifier; None where there is no formula to verify.
        findings: the verdict property by property.
        scale_dependence: for boxes, the largest change between scales as a share of the loss's range, else None.
        panels: loss and slope along the signature's tracks, beside the usual losses.
        pictures: file names' endings ("curves.png", …) and contents.
    """

    name: str
    title: str
    signature: Signature
    formula: str | None
    latex: str | None
    entry: Entry | None
    alias: str
    verdict: Verdict | None
    findings: tuple[Finding, ...]
    scale_dependence: float | None
    certificate: Certificate | None
    panels: tuple[Panel, ...] = field(repr=False)
    pictures: dict[str, bytes] = field(repr=False)

    @property
    def depends_on_scale(self) -> bool:
        """Whether a box loss changes when all coordinates are multiplied by one number."""
        return (self.scale_dependence or 0.0) > SCALE_DEPENDENT

    def save(self, path: str | Path) -> list[Path]:
        """Write the page, and each picture as a PNG beside it.

        Args:
            path: of the page; must end in .html. The pictures are named after it: page-curves.png.

        Returns:
            All files written, the page first.

        Raises:
            AutoLossError: another suffix, or a file can't be written.
        """
        path = Path(path)
        if path.suffix != ".html":
            raise AutoLossError(f"{path}: an explanation is a page; name a file that ends in .html")
        written = [path]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.html(), encoding="utf-8")
            for ending, content in self.pictures.items():
                if ending.endswith(".png"):
                    written.append(path.with_name(f"{path.stem}-{ending}"))
                    written[-1].write_bytes(content)
        except (OSError, ValueError) as error:
            raise not_written(path, error) from None
        return written

    def html(self) -> str:
        """The page."""
        title = _capital(self.title)
        return document(
            title,
            el("div", title, class_="verdict"),
            self._formula(),
            el("dl", [(el("dt", name), el("dd", words)) for name, words in self._facts()]),
            el("h2", "Loss and slope"),
            curves(self.panels),
            el("p", form_of(self.signature).reading, class_="note"),
            el("h2", "Verdict"),
            self._verdict(),
            self._scale(),
            self._graph(),
        )

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("Signature", form_of(self.signature).title)]
        if self.entry is not None:
            facts.append(("Source", self.entry.source))
            facts.append(("Load it", f'cse_autoloss.load_loss("{self.name}")'))
            if self.entry.alpha is not None:
                facts.append(("Class weighting", f"α = {self.entry.alpha:g}, left out of the pictures"))
        if self.alias:
            facts.append(("What it is", self.alias))
        if self.entry is not None and self.entry.note:
            facts.append(("Note", self.entry.note))
        return facts

    def _formula(self) -> Safe:
        if self.formula is None or self.latex is None:
            return el("p", "A plain torch module: it needs more than the operators can express.")
        typeset = Safe(to_mathml(self.latex, block=True))
        return Safe(el("div", typeset, class_="formula") + el("pre", self.formula))

    def _verdict(self) -> Safe:
        if self.verdict is None:
            return el("p", "The verifier reads formulas; this loss is a plain torch module.")
        word = "Accepted" if self.verdict.accepted else "Rejected"
        place = f" At {self.verdict.where}." if self.verdict.where else ""
        line = f" {_capital(self.verdict.reason)}.{place}"
        return Safe(
            el("p", el("b", f"{word}.", class_=word.lower()), line)
            + properties(self.findings)
            + (certified(self.certificate) if self.certificate else "")
        )

    def _scale(self) -> Safe | None:
        if self.scale_dependence is None:
            return None
        sizes = ", ".join(f"{SIDE * scale:g}" for scale in SCALES)
        if not self.depends_on_scale:
            words = el("b", "Independent of scale.", class_="accepted")
            return el(
                "section", el("h2", "Scale"), el("p", words, f" The same for boxes of {sizes} pixels a side.")
            )
        text = (
            f" Boxes of {sizes} pixels a side that overlap alike have different losses: by up to "
            f"{self.scale_dependence:.0%} of the loss's range. A constant in it is in square pixels, so what "
            "holds at one size of image need not hold at another."
        )
        picture = image(self.pictures["scale.svg"], "The loss at three box sizes", class_="sheet")
        words = el("b", "Depends on scale.", class_="rejected")
        return el("section", el("h2", "Scale"), el("p", words, text), picture)

    def _graph(self) -> Safe | None:
        if "graph.svg" not in self.pictures:
            return None
        return el("section", el("h2", "Graph"), graph_image(self.pictures["graph.svg"]))


def explain(
    source: str | Path,
    signature: str | Signature | None = None,
    alpha: float | Literal["default"] | None = "default",
) -> Explanation:
    """Look at a loss from all sides.

    Args:
        source: a catalogue name, a formula or the path of a loss.json.
        signature: as for `load_loss`.
        alpha: as for `load_loss`; what is proved is proved of the weighted loss.

    Raises:
        AutoLossError: as `load_loss` does.
    """
    text = str(source).strip()
    entry = CATALOGUE.get(text)
    # Drawn and compared without α, which would only shrink the curves.
    loss = load_loss(source, signature, "none", alpha=None)
    graph = loss.graph if isinstance(loss, GraphLoss) else None
    used = load_loss(source, signature, "none", alpha=alpha)
    weighting = used.alpha if isinstance(used, GraphLoss) else None
    title = entry.title if entry is not None else _title_of(source, loss)
    drawn = panels(loss)
    pictures: dict[str, bytes] = {}
    pictures["curves.png"] = to_bytes(curve_figure(drawn, _capital(title)), "png")
    verdict, latex = None, None
    if graph is not None:
        latex = to_latex(graph)
        verdict = verify(graph)
        with tempfile.TemporaryDirectory() as folder:
            for kind in ("svg", "png"):
                pictures[f"graph.{kind}"] = draw(graph, Path(folder, f"graph.{kind}")).read_bytes()
    dependence = scale_dependence(loss)
    if dependence is not None and dependence > SCALE_DEPENDENT:
        figure = scale_figure(scale_lines(loss), f"{_capital(title)} at three box sizes")
        for kind in ("svg", "png"):
            pictures[f"scale.{kind}"] = to_bytes(figure, kind)
    return Explanation(
        name=text,
        title=title,
        signature=loss.signature,
        formula=None if graph is None else graph.formula,
        latex=latex,
        entry=entry,
        alias="" if entry is not None else what_it_is(loss),
        verdict=verdict,
        findings=() if verdict is None else findings(verdict, loss.signature),
        scale_dependence=dependence,
        certificate=None if graph is None else certificate_of(graph, boxes=QUICK, alpha=weighting),
        panels=drawn,
        pictures=pictures,
    )


def _title_of(source: str | Path, loss: ReducedLoss) -> str:
    if isinstance(loss, ParametricSchedule):
        return loss.title
    if not isinstance(loss, GraphLoss):
        return "this loss"
    return Path(source).stem if str(source).endswith(".json") else "a loss by its formula"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
