"""Losses of a user's signature: called with its inputs, probed and drawn along its walks.

What is asked of such a loss, in order:

1. the formula reads, for each walk, at least one of the inputs that the walk moves;
2. value and gradient are finite along each walk;
3. the loss never rises along a walk, is least at its end, and moves on each; where a walk does not say that the loss
   may rest, it falls at every step;
4. where the signature is even, the loss is the same with all moving inputs negated.

An input that no walk moves may go unread. Walks that differ in such an input's place are how a need for it is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from cse_autoloss.errors import DataError, UnknownNameError
from cse_autoloss.graph import Input, Kind, Signature, Value, Walk
from cse_autoloss.spaces.curves import Curve, Look, ProbeGrid, Words
from cse_autoloss.spaces.form import Batch, Evaluate, Form, Need, Track, Uniform, View, Written, widened

REACH = 30.0
"""How far from 0, or from its bound, an input without a bound is taken where forms of a loss are compared."""

COARSE = 4
"""The coarse grid has each fourth point of the fine one."""

NEAREST = 1e-3
"""Share of the way that is left at the last point but one of a geometric walk."""


class WalkForm(Form):
    """A loss of tensors that broadcast against each other, called in the order of the inputs or by name.

    Per-class inputs have a last axis of classes, which per-sample ones and the result lack.
    """

    fitted = True

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.moving = signature.moving
        self._has_classes = any(one.kind is Kind.PER_CLASS for one in signature.inputs)
        self._per_sample = self._has_classes and signature.result is Kind.PER_SAMPLE
        sets = dict.fromkeys(frozenset(walk.moving) for walk in signature.walks)
        self.needs = tuple(Need(names, "ignores-input", _unread(names)) for names in sets)
        name = signature.name
        self.title = f"{name}: " + ", ".join(f"{one.name} {one.meaning}".strip() for one in signature.inputs)
        self.noun = name
        self.summary = f"Loss of the signature {name}."
        self.accepted = "falls along every walk at all {points} points looked at, and is least at its end" + (
            ", and is even" if signature.even else ""
        )
        self.reading = (
            "Each picture is one walk, read towards its end, where the loss must be least. The default loss is drawn "
            "times a power of ten where it is of another size. Below stands the slope along the walk."
        )
        self.baselines = (("default", signature.default),)
        self.properties = (
            ("Reads an input that each walk moves", frozenset({"ignores-input"})),
            ("Finite along every walk", frozenset({"not-finite"})),
            ("Never rises along a walk", frozenset({"constant", "rises-along-walk", "jumps"})),
            ("Least at the end of each walk", frozenset({"least-elsewhere"})),
            ("Falls along each walk", frozenset({"rests-on-walk", "flat-along-walk"})),
            *([("Even", frozenset({"not-even"}))] if signature.even else []),
        )

    # -- verification

    def grid(self, look: Look) -> ProbeGrid:
        # Each walk, and of an even signature its mirror image, where the loss is only read.
        plan: list[tuple[Walk, float]] = []
        curves = []
        for walk in self.signature.walks:
            for sign in (1.0, -1.0) if self.signature.even else (1.0,):
                place = f"{'' if sign > 0 else 'mirror image of the '}walk of {walk}"
                curves.append(Curve("walk", place, _words(walk), judged=sign > 0))
                plan.append((walk, sign))
        points = max(walk.points for walk in self.signature.walks)
        ways = [
            look.nearing(look.jittered(_way(walk, points)[:: 1 if look.fine else COARSE])) for walk, _ in plan
        ]
        rows = [self._along(walk, t, sign) for (walk, sign), t in zip(plan, ways, strict=True)]
        rates = []
        for (walk, sign), row in zip(plan, rows, strict=True):
            rate = {
                name: torch.zeros_like(row[name]) for name in self.signature.variables if name in self.moving
            }
            for name, a, b in zip(walk.moving, walk.start, walk.end, strict=True):
                rate[name] += sign * (_place(b) - _place(a))
            rates.append(rate)
        t = torch.stack(ways)
        judged = torch.tensor([curve.judged for curve in curves])[:, None].expand_as(t)
        may_rest = torch.tensor([walk.may_rest for walk, _ in plan])[:, None]
        axis, coordinate = self._coordinate(rows, t)
        return ProbeGrid(
            self.signature.key,
            "fall",
            {name: torch.cat([row[name] for row in rows]) for name in self.signature.variables},
            {name: torch.cat([rate[name] for rate in rates]) for name in rates[0]},
            tuple(curves),
            coordinate,
            axis,
            step=t.diff(dim=1),
            scale_mask=judged,
            end_mask=torch.zeros_like(judged),
            falls=judged & ~may_rest & look.far(t[0]),
            slope_mask=judged & (t < 1),
            longest=float(t.diff(dim=1).max()) if look.fine else 0.0,
            mirrored=tuple((k, k + 1) for k, (_, sign) in enumerate(plan[1:]) if sign < 0),
        )

    def _along(self, walk: Walk, t: Tensor, sign: float = 1.0) -> dict[str, Tensor]:
        """All inputs at the points `t` of a walk, (P,) or, of per-class ones, (P, C)."""
        ends = zip(walk.moving, walk.start, walk.end, strict=True)
        classes = self._classes
        found: dict[str, Tensor] = {}
        for name, a, b in (*ends, *((name, value, value) for name, value in walk.at.items())):
            here = t[:, None] if self.signature.kind_of(name) is Kind.PER_CLASS else t
            first, last = _place(a), _place(b)
            # Written so that both ends are hit to the last digit.
            value = (1 - here) * first + here * last
            value = value.expand(len(t), classes) if here is not t else value
            found[name] = sign * value if name in walk.moving else value
        return found

    @property
    def _classes(self) -> int:
        """Classes on the walks: as many as numbers are given anywhere, at least 2."""
        places = [v for walk in self.signature.walks for v in (*walk.start, *walk.end, *walk.at.values())]
        return max(2, *(len(v) for v in places if isinstance(v, tuple)), 2)

    def _coordinate(self, rows: list[dict[str, Tensor]], t: Tensor) -> tuple[str, Tensor]:
        """What words name places by: the one input that all walks move, else the share of the way."""
        (name, *others) = sorted(self.moving)
        if others or self.signature.kind_of(name) is Kind.PER_CLASS:
            return "t", t
        return name, torch.stack([row[name] for row in rows])

    # -- calls

    def check(self, *args: Any, **named: Any) -> tuple[Any, ...]:
        names = [one.name for one in self.signature.inputs]
        if len(args) > len(names):
            raise DataError(f"a {self.signature.name} loss takes {', '.join(names)}; got {len(args)} tensors")
        given = dict(zip(names, args, strict=False))
        for name, value in named.items():
            if name not in names:
                raise UnknownNameError.of("input", name, names)
            if name in given:
                raise DataError(f"input {name!r} is given twice")
            given[name] = value
        first = next((given[n] for n in names if n in self.moving and isinstance(given.get(n), Tensor)), None)
        if first is None or not first.is_floating_point():
            wanted = " or ".join(n for n in names if n in self.moving)
            raise DataError(f"a {self.signature.name} loss needs {wanted}, a tensor of floating point")
        first = widened(first)
        found = []
        for one in self.signature.inputs:
            value = given.get(one.name)
            if value is not None and not isinstance(value, Tensor):
                raise DataError(f"input {one.name!r} must be a tensor, got {type(value).__name__}")
            if value is not None and one.kind is Kind.PER_CLASS and value.dim() == 0:
                raise DataError(f"input {one.name!r} is per-class: it needs a last axis of classes")
            if value is not None:
                value = value.to(first.dtype)
                value = value if one.name in self.moving else value.detach()
            found.append(value)
        try:
            _common_shape(self._lifted(found).values())
        except RuntimeError:
            shapes = ", ".join(
                f"{n} {tuple(v.shape)}" for n, v in zip(names, found, strict=True) if v is not None
            )
            raise DataError(f"inputs do not broadcast against each other: {shapes}") from None
        return tuple(found)

    def _lifted(self, args: Iterable[Tensor | None]) -> dict[str, Tensor]:
        """Inputs by name, per-sample ones with a class axis of 1 where others have classes."""
        return {
            one.name: value.unsqueeze(-1) if self._has_classes and one.kind is Kind.PER_SAMPLE else value
            for one, value in zip(self.signature.inputs, args, strict=True)
            if value is not None
        }

    def elements(self, evaluate: Evaluate, alpha: float | None, *args: Any) -> Tensor:
        inputs = self._lifted(args)
        try:
            values = evaluate(inputs)
        except KeyError as error:
            raise DataError(f"this loss reads {error.args[0]!r}, which was not given") from None
        shape = _common_shape(inputs.values())
        if self._per_sample:
            return values.expand(*shape[:-1], 1).squeeze(-1)
        return values.expand(shape)

    # -- places

    def sample(self, count: int, uniform: Uniform, dtype: torch.dtype) -> dict[str, Tensor]:
        """Inputs over their ranges, half of them near; unbounded ones within ±30, half within ±3."""
        found: dict[str, Tensor] = {}
        for one in self.signature.inputs:
            columns = 4 if one.kind is Kind.PER_CLASS else 1
            share = uniform(count, columns)
            near = uniform(count, columns) < 0.5
            if one.one_hot:
                value = torch.nn.functional.one_hot(torch.arange(count) % columns, columns).double()
            elif one.complement in found:
                value = 1 - found[one.complement].double()
            else:
                value = _spread(one, share, near)
            found[one.name] = value.to(dtype)
        return found if self._has_classes else {name: value.squeeze(-1) for name, value in found.items()}

    def batch(self, uniform: Callable[..., Tensor]) -> Batch:
        sample = self.sample(96, lambda *shape: uniform(*shape, low=0.0, high=1.0), torch.float64)
        args = tuple(
            value.squeeze(-1) if self._has_classes and one.kind is Kind.PER_SAMPLE else value
            for one, value in zip(self.signature.inputs, sample.values(), strict=True)
        )
        return Batch(args, tuple(i for i, one in enumerate(self.signature.inputs) if one.name in self.moving))

    def example(self, read: Iterable[str]) -> dict[str, tuple[Tensor, Mapping[int, str]]]:
        wanted = set(read) | {next(one.name for one in self.signature.inputs if one.name in self.moving)}
        found: dict[str, tuple[Tensor, Mapping[int, str]]] = {}
        for one in self.signature.inputs:
            if one.name in wanted:
                classes = one.kind is Kind.PER_CLASS
                value = _spread(one, torch.full((6, 5) if classes else (6,), 0.6), torch.tensor(True)).float()
                found[one.name] = (value, {0: "N", 1: "C"} if classes else {0: "N"})
        return found

    def views(self, loss: Callable[..., Tensor]) -> tuple[View, ...]:
        found = []
        for walk in self.signature.walks:
            t = _way(walk, 401).requires_grad_()
            inputs = self._along(walk, t)
            args = tuple(inputs[one.name] for one in self.signature.inputs)
            (name, *others) = walk.moving
            plain = not others and self.signature.kind_of(name) is Kind.PER_SAMPLE
            x = inputs[name].detach() if plain else t.detach()
            rate = torch.full_like(x, float(walk.end[0]) - float(walk.start[0])) if plain else None
            label = name if plain else "share of the way"
            found.append(
                View(_title(walk), label, f"∂L/∂{name if plain else 't'}", (Track(x, args, t, rate),))
            )
        return tuple(found)

    # -- code

    def forward(self, written: Written) -> list[str]:
        used = self.signature.inputs
        first = next(one for one in used if one.name in self.moving)
        axes = {Kind.PER_CLASS: "(…, C)", Kind.PER_SAMPLE: "(…)"}
        body = ['"""Loss of a batch; inputs broadcast against each other.', "", "Args:"]
        for one in used:
            text = f"    {one.code}: {axes[Kind(one.kind)]} {one.meaning}".rstrip()
            body.append(text + ("" if one.name in self.moving else "; no gradient flows into it"))
        many = self._has_classes and not self._per_sample
        body += [
            "",
            "Returns:",
            f'    {"(…, C)" if many else "(…)"} for reduction "none", else a scalar.',
            '"""',
        ]
        body.append(f"{first.code} = _at_least_float32({first.code})")
        for one in used:
            lift = ".unsqueeze(-1)" if self._has_classes and one.kind is Kind.PER_SAMPLE else ""
            code = one.code if one.name in self.moving else f"{one.code}.detach()"
            code = code if one is first else f"{code}.to({first.code}.dtype)"
            if code + lift != one.code:
                body.append(f"{one.code} = {code}{lift}")
        shapes = ", ".join(f"{one.code}.shape" for one in used)
        like = f"{first.code}[..., :1]" if self._per_sample and first.kind is Kind.PER_CLASS else first.code
        body += ["", *written.steps(like)]
        if len(used) > 1 or self._per_sample:
            shape = f"torch.broadcast_shapes({shapes})" if len(used) > 1 else f"{first.code}.shape"
            body.append(
                f"loss = loss.expand(*{shape}[:-1], 1).squeeze(-1)"
                if self._per_sample
                else f"loss = loss.expand({shape})"
            )
        body += ['if self.reduction == "none":', "    return loss"]
        body.append('return loss.sum() if self.reduction == "sum" else loss.sum() / max(loss.numel(), 1)')
        parameters = ", ".join(f"{one.code}: Tensor" for one in used)
        return [f"def forward(self, {parameters}) -> Tensor:", *(f"    {line}" for line in body)]


@lru_cache(maxsize=256)
def walk_form(signature: Signature) -> WalkForm:
    """The form of a signature that has none of its own."""
    return WalkForm(signature)


def form_of(signature: Signature) -> Form:
    """How losses of the signature are called, probed, drawn and written."""
    form = signature.form
    return form if isinstance(form, Form) else walk_form(signature)


def _common_shape(tensors: Iterable[Tensor]) -> torch.Size:
    """The shape that tensors broadcast to; torch takes long to find it even where all have the same."""
    # Compared, not hashed: an exporter would take the length of its example for the only one.
    first, *others = (tensor.shape for tensor in tensors)
    return first if all(one == first for one in others) else torch.broadcast_shapes(first, *others)


def _unread(names: frozenset[str]) -> str:
    listed = sorted(names)
    if len(listed) == 1:
        return f"formula does not read {listed[0]}, so it can't fall along a walk of it"
    return f"formula reads none of {', '.join(listed)}, so it can't fall along a walk of them"


def _words(walk: Walk) -> Words:
    return Words(
        rises=("rises-along-walk", f"loss rises along the walk of {walk}"),
        everywhere=", in {figure:.0%} of all steps",
        amount="",
        rests=("rests-on-walk", f"loss does not move along the walk of {walk}"),
        flat=("flat-along-walk", f"loss does not fall along the walk of {walk}"),
        constant="it does not move along any walk",
        end="it ends",
        on=f", on the walk of {walk}",
    )


def _title(walk: Walk) -> str:
    text = str(walk)
    return text if len(text) <= 40 else text[:39] + "…"


def _way(walk: Walk, points: int) -> Tensor:
    """Shares of the way, from 0 to 1."""
    if walk.spacing == "even":
        return torch.linspace(0, 1, points, dtype=torch.float64)
    left = NEAREST ** torch.linspace(0, 1, points - 1, dtype=torch.float64)
    return torch.cat((1 - left, torch.ones(1, dtype=torch.float64)))


def _place(value: Value) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _spread(one: Input, share: Tensor, near: Tensor) -> Tensor:
    """`share` in [0, 1] over an input's range, a fifth of it at each end; without an end, over ±30, or ±3 if `near`."""
    reach = torch.where(near, REACH / 10, REACH).to(share.dtype)
    low, high = (torch.as_tensor(bound, dtype=share.dtype) for bound in (one.low, one.high))
    low = torch.where(low.isfinite(), low, torch.where(high.isfinite(), high, 0.0) - reach)
    ends = (1.4 * share - 0.2).clamp(0, 1) if high.isfinite() else share
    return low + ends * (torch.where(high.isfinite(), high, low.clamp(min=0) + reach) - low)
