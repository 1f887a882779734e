"""`explain`: everything about one loss on one page that needs nothing but itself."""

from __future__ import annotations

import base64
import html
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cse_autoloss.certify import QUICK, Certificate, certificate_of
from cse_autoloss.errors import AutoLossError
from cse_autoloss.explain.curves import panels, scale_dependence, scale_lines
from cse_autoloss.explain.pictures import curve_figure, formula_figure, scale_figure, to_bytes
from cse_autoloss.explain.properties import Finding, findings
from cse_autoloss.explain.template import PAGE
from cse_autoloss.export import draw, to_latex
from cse_autoloss.export.latex import can_be_typeset
from cse_autoloss.graph import Signature
from cse_autoloss.losses import CATALOGUE, Entry, GraphLoss, ReducedLoss, find_alike, load_loss, nearest
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
        except OSError as error:
            raise AutoLossError(f"{path}: {error.strerror or error}") from None
        return written

    def html(self) -> str:
        """The page."""
        return PAGE.format(
            title=html.escape(_capital(self.title)),
            facts="".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in self._facts()),
            formula=self._formula_html(),
            curves=_image(self.pictures["curves.svg"], "Loss and slope beside the usual losses"),
            reading=html.escape(form_of(self.signature).reading),
            verdict=self._verdict_html(),
            scale=self._scale_html(),
            graph=self._graph_html(),
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

    def _formula_html(self) -> str:
        if self.formula is None:
            return "<p>A plain torch module: it needs more than the operators can express.</p>"
        typeset = self.pictures.get("formula.svg")
        picture = "" if typeset is None else _image(typeset, self.latex or self.formula)
        return f'<div class="formula">{picture}</div><pre>{html.escape(self.formula)}</pre>'

    def _verdict_html(self) -> str:
        if self.verdict is None:
            return "<p>The verifier reads formulas; this loss is a plain torch module.</p>"
        rows = "".join(
            f'<tr class="{finding.outcome}"><td>{_SIGN[finding.outcome]}</td>'
            f"<td>{html.escape(finding.name)}</td><td>{html.escape(finding.detail)}</td></tr>"
            for finding in self.findings
        )
        word = "Accepted" if self.verdict.accepted else "Rejected"
        place = f" At {self.verdict.where}." if self.verdict.where else ""
        line = html.escape(f"{_capital(self.verdict.reason)}.{place}")
        table = f'<p><b class="{word.lower()}">{word}.</b> {line}</p><table>{rows}</table>'
        return table + self._certificate_html()

    def _certificate_html(self) -> str:
        if self.certificate is None:
            return ""
        kinds = {"proved": "passed", "refuted": "failed", "open": "open"}
        rows = "".join(
            f'<tr class="{kinds[one.outcome]}"><td>{_SIGN[kinds[one.outcome]]}</td><td>{one.outcome}</td>'
            f"<td>{html.escape(str(one))}</td></tr>"
            for one in self.certificate.findings
        )
        return f"<h2>Certificate</h2><p>Proved over the whole domain, not at points.</p><table>{rows}</table>"

    def _scale_html(self) -> str:
        if self.scale_dependence is None:
            return ""
        sizes = ", ".join(f"{SIDE * scale:g}" for scale in SCALES)
        if not self.depends_on_scale:
            text = f"The same for boxes of {sizes} pixels a side."
            return f"<h2>Scale</h2><p><b class=accepted>Independent of scale.</b> {text}</p>"
        text = (
            f"Boxes of {sizes} pixels a side that overlap alike have different losses: by up to "
            f"{self.scale_dependence:.0%} of the loss's range. A constant in it is in square pixels, so what "
            "holds at one size of image need not hold at another."
        )
        picture = _image(self.pictures["scale.svg"], "The loss at three box sizes")
        return f'<h2>Scale</h2><p><b class=rejected>Depends on scale.</b> {text}</p><div class="small">{picture}</div>'

    def _graph_html(self) -> str:
        if "graph.svg" not in self.pictures:
            return ""
        picture = _image(self.pictures["graph.svg"], "Computation graph")
        return f'<h2>Graph</h2><div class="graph">{picture}</div>'


def explain(source: str | Path, signature: str | Signature | None = None) -> Explanation:
    """Look at a loss from all sides.

    Args:
        source: a catalogue name, a formula or the path of a loss.json.
        signature: as for `load_loss`.

    Raises:
        AutoLossError: as `load_loss` does.
    """
    text = str(source).strip()
    entry = CATALOGUE.get(text)
    # Drawn and compared without α, which would only shrink the curves.
    loss = load_loss(source, signature, "none", alpha=None)
    graph = loss.graph if isinstance(loss, GraphLoss) else None
    title = entry.title if entry is not None else "this loss" if graph is None else _title_of(source)
    drawn = panels(loss)
    pictures: dict[str, bytes] = {}
    curves = curve_figure(drawn, _capital(title))
    for kind in ("svg", "png"):
        pictures[f"curves.{kind}"] = to_bytes(curves, kind)
    verdict, latex = None, None
    if graph is not None:
        latex = to_latex(graph)
        if can_be_typeset(latex):
            pictures["formula.svg"] = to_bytes(formula_figure(latex), "svg")
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
        alias=_alias(loss, entry),
        verdict=verdict,
        findings=() if verdict is None else findings(verdict, loss.signature),
        scale_dependence=dependence,
        certificate=None if graph is None else certificate_of(graph, boxes=QUICK),
        pictures=pictures,
    )


def _alias(loss: ReducedLoss, entry: Entry | None) -> str:
    if not isinstance(loss, GraphLoss) or entry is not None:
        return ""
    matches = find_alike(loss.formula, loss.signature)
    if matches:
        return "; ".join(str(match).removeprefix("this is ") for match in matches)
    close = nearest(loss.formula, loss.signature)
    if close is None or close[1] < 0.5:
        return "none of the catalogue's losses, nor near any"
    return f"none of the catalogue's losses; nearest is {close[0].title} (cosine of the gradients {close[1]:.3f})"


def _title_of(source: str | Path) -> str:
    return Path(source).stem if str(source).endswith(".json") else "a loss by its formula"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _image(content: bytes, alternative: str) -> str:
    data = base64.b64encode(content).decode()
    return f'<img alt="{html.escape(alternative)}" src="data:image/svg+xml;base64,{data}">'


_SIGN = {"passed": "✓", "failed": "✗", "open": "–"}
