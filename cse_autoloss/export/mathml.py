"""A loss in MathML, which browsers set without any script: from the LaTeX that `latex.to_latex` prints."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&]|\d+(?:\.\d+)?|\s+|.", re.S)
_SIGNS = {
    "-": "−",
    r"\cdot": "·", r"\times": "×", r"\langle": "⟨", r"\rangle": "⟩", r"\le": "≤", r"\ge": "≥", r"\pm": "±",
    r"\alpha": "α", r"\beta": "β", r"\gamma": "γ", r"\delta": "δ", r"\epsilon": "ε", r"\varepsilon": "ε",
    r"\theta": "θ", r"\lambda": "λ", r"\mu": "μ", r"\pi": "π", r"\rho": "ρ", r"\sigma": "σ", r"\tau": "τ",
    r"\phi": "φ", r"\omega": "ω", r"\infty": "∞", r"\Delta": "Δ", r"\ell": "ℓ",
}  # fmt: skip
_WORDS = (r"\operatorname", r"\text", r"\mathrm", r"\mathit", r"\mathbf")
_ACCENTS = {r"\hat": "^", r"\bar": "¯", r"\tilde": "~", r"\dot": "˙"}
_FENCES = "()|[]⟨⟩"


def to_mathml(latex: str, *, block: bool = False) -> str:
    """The formula as a `<math>` element, safe to stand in a page whatever the LaTeX holds.

    Args:
        latex: in mathematics mode; what is not known of it is shown as it is written.
        block: on a line of its own, with full fractions.

    >>> to_mathml(r"-e^{x}")
    '<math><mrow><mo>−</mo><msup><mi>e</mi><mrow><mi>x</mi></mrow></msup></mrow></math>'
    """
    tokens = [token for token in _TOKEN.findall(latex) if not token.isspace()]
    inside = "".join(_row(_Reader(tokens), ""))
    shown = ' display="block"' if block else ""
    return f"<math{shown}><mrow>{inside}</mrow></math>"


class _Reader:
    """Tokens, one after the other; the list's own iterator, but for a look at the next one."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place = tokens, 0

    def __iter__(self) -> _Reader:
        return self

    def __next__(self) -> str:
        if self.place >= len(self.tokens):
            raise StopIteration
        self.place += 1
        return self.tokens[self.place - 1]

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""


def _row(reader: _Reader, end: str) -> Iterator[str]:
    """Elements up to the token `end`, or to the end of all."""
    for token in reader:
        if token == end:
            return
        yield _scripts(_atom(token, reader), reader)


def _scripts(base: str, reader: _Reader) -> str:
    """The base with what is written above and below it."""
    found: dict[str, str] = {}
    while reader.peek() in ("^", "_") and reader.peek() not in found:
        sign = next(reader)
        found[sign] = _argument(reader)
    if not found:
        return base
    name = "msubsup" if len(found) == 2 else "msup" if "^" in found else "msub"
    return f"<{name}>{base}{found.get('_', '')}{found.get('^', '')}</{name}>"


def _argument(reader: _Reader) -> str:
    token = next(reader, "")
    return _atom(token, reader) if token else "<mrow></mrow>"


def _atom(token: str, reader: _Reader) -> str:
    if token == "{":
        return f"<mrow>{''.join(_row(reader, '}'))}</mrow>"
    if token == r"\left":
        opening = _fence(next(reader, ""), "prefix")
        inside = "".join(_row(reader, r"\right"))
        return f"<mrow>{opening}{inside}{_fence(next(reader, ''), 'postfix')}</mrow>"
    if token in (r"\frac", r"\dfrac"):
        return f"<mfrac>{_argument(reader)}{_argument(reader)}</mfrac>"
    if token == r"\sqrt":
        return f"<msqrt>{_argument(reader)}</msqrt>"
    if token in _ACCENTS:
        return f"<mover>{_argument(reader)}<mo>{_ACCENTS[token]}</mo></mover>"
    if token in _WORDS:
        return f'<mi mathvariant="normal">{html.escape(_word(reader))}</mi>'
    return _leaf(token)


def _word(reader: _Reader) -> str:
    """The letters of `{softmax}`."""
    letters: list[str] = []
    if reader.peek() == "{":
        next(reader)
        for token in reader:
            if token == "}":
                break
            letters.append(token)
    return "".join(letters)


def _leaf(token: str) -> str:
    sign = _SIGNS.get(token, token)
    if sign == r"\,":
        return '<mspace width="0.17em"></mspace>'
    if sign in _FENCES:
        return _fence(sign, "prefix" if sign in "([⟨" else "postfix", stretchy=False)
    if sign[0].isdigit():
        return f"<mn>{sign}</mn>"
    if len(sign) == 1 and sign.isalpha():
        return f"<mi>{sign}</mi>"
    if sign.startswith("\\") and sign[1:].isalpha():
        return f'<mi mathvariant="normal">{sign[1:]}</mi>'
    return f"<mo>{html.escape(sign.lstrip(chr(92)) or sign)}</mo>"


def _fence(token: str, form: str, stretchy: bool = True) -> str:
    sign = html.escape(_SIGNS.get(token, token))
    grows = str(stretchy).lower()
    return f'<mo stretchy="{grows}" form="{form}">{sign}</mo>' if sign not in ("", ".") else ""
