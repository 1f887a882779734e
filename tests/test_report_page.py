"""A run's page: whole, escaped, self-contained, and a function of the store; in a browser it can be clicked through."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cse_autoloss
from cse_autoloss.bench.progress import RunStatus, Silent
from cse_autoloss.errors import RunError
from cse_autoloss.losses import load_loss
from cse_autoloss.report.about import keep_about
from cse_autoloss.report.front import choices, pick
from cse_autoloss.report.page import FILE, PageWriter, write_page
from cse_autoloss.report.view import RunView
from cse_autoloss.runs import RunStore, Score
from cse_autoloss.searches.protocol import Member, SearchState
from cse_autoloss.spaces import parse
from cse_autoloss.tasks.pictures import Box, Dots, Lines, Photograph, Photographs, confusion, encoded
from cse_autoloss.tasks.protocol import Metric
from cse_autoloss.verdict import Verdict

HOSTILE = "<img src=x onerror=alert(1)>"
GRANDPARENT, PARENT, CHILD = "Sub(1,Div(I,U))", "Neg(Log(Div(I,U)))", "Neg(Log(Div(Mul(I,I),U)))"
METRIC = Metric("ap", title=f"AP{HOSTILE}", factor=100.0)


def add(store: RunStore, formula: str, place: int, value: float, origin: str, *parents: str) -> None:
    digest = parse(formula, "reg").digest
    row = store.add_candidate(
        slot="reg", formula=formula, digest=digest, generation=place, place=place, origin=origin,
        parents=tuple(parse(one, "reg").digest for one in parents),
    )  # fmt: skip
    losses = {"cls": "focal", "reg": formula}
    store.add_score(
        Score(f"k{place}", "proxy", losses, "val", 0, 1.0, metrics={"ap": value}, candidate=row.id)
    )


def standing(name: str, formula: str, *seeds: float) -> dict[str, Any]:
    test = {"mean": sum(seeds) / len(seeds), "low": min(seeds), "high": max(seeds), "seeds": list(seeds)}
    losses = {"cls": "focal", "reg": formula}
    return {"name": name, "losses": losses, "settings": {"lr": 0.1}, "trainings": 3, "val": 0.4, "test": test}


def made(directory: Path) -> Path:
    """A run as evolve leaves it, with names that are no good."""
    store = RunStore.create(directory, {"seed": 3, "task": HOSTILE, "note": HOSTILE})
    signatures = {"cls": parse("X", "cls-binary").signature, "reg": parse("U", "reg").signature}
    with store:
        keep_about(store, "evolve", HOSTILE, signatures, ["reg"], METRIC, {"cls": "focal", "reg": "giou"})
        add(store, GRANDPARENT, 0, 0.30, "seed")
        add(store, PARENT, 1, 0.35, "random")
        add(store, CHILD, 2, 0.40, "point", PARENT)
        bad = store.add_candidate(slot="reg", formula="I", digest="d", generation=3, place=3, origin="random")
        why = f"loss rises {HOSTILE}"
        store.add_verdicts([(bad.id, Verdict("verify", False, why, where="i/u = 0.5", code="rises"))])
        member = Member(CHILD, parse(CHILD, "reg").digest, "point", 2, (0.4,))
        state = SearchState(3, {"reg": (member,)})
        counts = {
            "funnel": {"generated": 4000, "verified": 40, "trained": 3},
            "rejected": {"verify": {"rises": 7}},
        }
        store.save_state(3, {"state": state.to_json(), "counts": counts})
        best = {
            "losses": {"cls": "focal", "reg": CHILD},
            "alpha": None,
            "settings": {},
            "val": 0.4,
            "test": None,
        }
        best["gain"] = {"over": HOSTILE, "mean": 0.05, "low": 0.02, "high": 0.08}
        store.set_meta(
            "summary",
            {
                **counts, "best": best, "verdict": f"Better than {HOSTILE}.", "notes": [f"shrunk {HOSTILE}"],
                "seconds": {"search": 3.0, "total": 4.0}, "paired_noise": 0.01,
                "winners": [standing("discovered 1", CHILD, 0.45, 0.44)],
                "baselines": [standing(HOSTILE, "giou", 0.40, 0.39), standing("iou", "iou", 0.41, 0.46)],
            },
        )  # fmt: skip
        store.status = "finished"
    return directory


class Reader(HTMLParser):
    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.names: set[str] = set()
        self.links: list[str] = []
        self.words = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            if name == "id":
                assert value not in self.names
                self.names.add(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def shown(directory: Path) -> Path:
    """An audited training of the found loss with what a task may offer of its model, and a plot of the run."""
    (directory / "plots").mkdir()
    Image.new("RGB", (1600, 400), "grey").save(directory / "plots" / "mu.png")
    photograph = Photograph(
        encoded(np.zeros((1, 30, 40), np.uint8)), 40, 30, [Box((1, 2, 9, 9), "wrong", HOSTILE)]
    )
    pictures = [
        Lines(HOSTILE, "recall", "precision", {HOSTILE: [(0, 1), (1, 0.5)]}),
        Dots("Residuals", "target", HOSTILE, [(0, 1), (1, 0.5)]),
        confusion([HOSTILE, "b"], np.array([0, 0, 1]), np.array([0, 1, 1])),
        Photographs("Detections", HOSTILE, [photograph]),
    ]
    extra = {"pictures": [asdict(one) for one in pictures], "parts": {f"AP of {HOSTILE}": 0.25}}
    losses = {"cls": "focal", "reg": CHILD}
    with RunStore.open(directory) as store:
        store.add_score(
            Score("a", "audit", losses, "test", 0, 1.0, {"lr": 0.1}, metrics={"ap": 0.45}, extra=extra)
        )
    return directory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown(made(tmp_path_factory.mktemp("runs") / "one"))


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    file = cse_autoloss.report_run(run)
    assert file == run / FILE
    return file.read_text(encoding="utf-8")


def test_it_tells_everything_and_needs_nothing(page: str) -> None:
    reader = Reader(page)
    for words in (
        f"Better than {HOSTILE}.", "Against all others", "gain of discovered 1 over it", f"shrunk {HOSTILE}",
        "The found loss", "What it is", "with discovered 1", f"wrong: {HOSTILE}",
        "Residuals", "0 right, 1 wrong, 0 missed", "25.00",
        "moves the mean difference of two equal losses by ±1.00 (1 sd)",
        "Score against size", "Where it comes from", "changed: I → Mul(I,I)",
        "over the better parent", "The funnel", f"loss rises {HOSTILE} (at i/u = 0.5)", "All settings", "--resume",
    ):  # fmt: skip
        assert words in reader.words, words
    assert all(link.startswith(("#", "data:")) for link in reader.links)
    assert {link[1:] for link in reader.links if link.startswith("#")} <= reader.names
    assert "1 of b taken for b" in page
    assert page.count("<script") == 1
    assert "<img src=x" not in page
    assert len(page) < 3_000_000


def side_by_side(directory: Path) -> Path:
    """A run that trains models side by side; two contestants end with one loss and one learning rate."""
    text = load_loss("softmax-focal").formula
    keep = {"losses": {"loss": text}, "settings": {"lr": 0.1}}
    told = {"mean": 0.5, "low": None, "high": None, "seeds": [0.5]}
    with RunStore.create(directory, {"task": "classification"}) as store:
        signatures = {"loss": parse(text, "cls-multiclass").signature}
        keep_about(store, "reinforce", "classification", signatures, ["loss"], Metric("accuracy"), {})
        for place, name in enumerate(("control-0", "searched-0", "searched-0")):
            extra = {"training": name, "rewards": [0.25, None]}
            store.add_score(
                Score(
                    f"e{place}",
                    "epoch",
                    keep["losses"],
                    "val",
                    0,
                    place,
                    metrics={"accuracy": 0.25},
                    extra=extra,
                )
            )
        for name in ("searched-0", "alone-0"):
            pictures = [asdict(Dots("Dots", name, name, [(0, 1)]))]
            extra = {"training": name, "pictures": pictures}
            score = Score(
                name, "audit", keep["losses"], "test", 0, 3.0, keep["settings"], metrics={"accuracy": 0.5}
            )
            store.add_score(replace(score, extra=extra))
        winners = [{"name": "exported", "test": told, **keep}, {"name": "searched", "test": told, **keep}]
        runs = {"exported": [{"training": "alone-0"}], "searched": [{"training": "searched-0"}]}
        best = {"losses": keep["losses"], "gain": None}
        store.set_meta("summary", {"best": best, "winners": winners, "baselines": [], "by_seed": runs})
        store.status = "finished"
    return directory


def test_models_trained_side_by_side_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    directory = side_by_side(tmp_path / "run")
    with RunStore.read(directory) as store:
        view = RunView(store)
        assert view.reference is not None
        assert [score.key for score in view.audited(view.reference)] == ["alone-0"]
    words = Reader(cse_autoloss.report_run(directory).read_text(encoding="utf-8")).words
    assert "after each epoch" in words
    assert "control" in words
    assert "alone-0" in words


def test_a_comparison_shows_all_its_losses(tmp_path: Path) -> None:
    test = {"mean": 0.5, "low": None, "high": None, "seeds": [0.5]}
    pairs = (("one", "giou"), ("two", CHILD), ("three", "giou"))
    rows = [{"name": name, "losses": {"reg": text}, "ap": test} for name, text in pairs]
    with RunStore.create(
        tmp_path / "run", {"compare": {"contestants": [], "tune": True, "seeds": 1, "split": "test"}}
    ) as store:
        keep_about(store, "compare", "detection", {"reg": parse("U", "reg").signature}, ["reg"], METRIC, {})
        store.set_meta("summary", {"losses": rows})
        store.status = "finished"
        words = Reader(write_page(store).read_text(encoding="utf-8")).words
    assert "reg of one, three" in words
    assert "reg of two" in words
    assert words.count("What it is") == 2


def test_a_gain_is_paired_seed_by_seed(page: str) -> None:
    # 0.45 - 0.41 and 0.44 - 0.46: the mean is +1 point, and nothing is sure.
    assert "+1.00 AP" in Reader(page).words


def told(summary: dict[str, Any], gains: dict[str, tuple[float, bool]]) -> None:
    """Write gains into an audit's summary as `AuditResult.to_dict` does."""
    for one in (*summary["winners"], *summary["baselines"]):
        mean, apart = gains.get(one["name"], (None, None))
        bounds = {"mean": mean, "low": mean - 0.01, "high": mean + 0.01} if mean is not None else None
        one.update(best_gain=bounds, told_apart=apart)


def test_the_store_tells_who_is_told_apart_and_an_older_run_says_that_nothing_is_corrected(
    tmp_path: Path, page: str
) -> None:
    older = Reader(page).words
    assert "nothing is corrected for the number of comparisons, 2, nor for seeds that share a draw" in older
    assert " told apart" not in older
    with RunStore.open(made(tmp_path / "run")) as store:
        summary = store.meta("summary")
        told(summary, {HOSTILE: (0.03, True), "iou": (0.02, False)})
        store.set_meta("summary", {**summary, "draws": 2})
        words = Reader(write_page(store).read_text(encoding="utf-8")).words
    assert f"+3.00 AP{HOSTILE} [+2.00, +4.00] told apart" in words
    assert f"+2.00 AP{HOSTILE} [+1.00, +3.00]" in words
    assert words.count("] told apart") == 1
    assert "2 paired seeds on 2 fresh draws of the data" in words
    assert "told apart from 0, by Holm's correction for 2 known losses" in words
    assert "nothing is corrected" not in words


def test_a_comparison_says_what_its_table_says(tmp_path: Path) -> None:
    def row(name: str, *seeds: float, **more: Any) -> dict[str, Any]:
        ap = {"mean": sum(seeds) / 2, "low": min(seeds), "high": max(seeds), "seeds": list(seeds)}
        return {"name": name, "losses": {"reg": "giou"}, "ap": ap, **more}

    gain = {"ap": {"mean": 0.1, "low": 0.09, "high": 0.11}}
    older = [row("one", 0.5, 0.51), row("two", 0.6, 0.61)]
    newer = [
        row("one", 0.5, 0.51, difference={"ap": None}, told_apart=None),
        row("two", 0.6, 0.61, difference=gain, told_apart=False),
    ]
    config = {"compare": {"contestants": [], "tune": True, "seeds": 2, "split": "test"}}
    with RunStore.create(tmp_path / "run", config) as store:
        keep_about(store, "compare", "detection", {"reg": parse("U", "reg").signature}, ["reg"], METRIC, {})
        store.status = "finished"
        store.set_meta("summary", {"losses": older, "draws": [1, 1]})
        words = Reader(write_page(store).read_text(encoding="utf-8")).words
        assert "Better: the best of the others, two" in words
        assert "nothing is corrected for seeds that share a draw of the data" in words
        store.set_meta(
            "summary", {"losses": newer, "draws": [1, 1], "verdict": "Not told apart from one: two."}
        )
        words = Reader(write_page(store).read_text(encoding="utf-8")).words
    assert "Not told apart from one: two." in words
    assert "Better" not in words
    assert "2 paired seeds on one fresh draw of the data" in words
    assert "] told apart" not in words


def test_pictures_that_are_none_are_told_in_one_line(tmp_path: Path) -> None:
    directory = shown(made(tmp_path / "run"))
    for broken in ({"kind": "lines"}, {"kind": HOSTILE}, 3):
        with RunStore.open(directory) as store:
            store.add_score(replace(store.scores("audit")[0], extra={"pictures": [broken]}))
        with pytest.raises(RunError, match="a training's pictures can't be understood"):
            cse_autoloss.report_run(directory)


def test_the_front_is_numbered_and_any_of_it_is_exported(run: Path, tmp_path: Path) -> None:
    with RunStore.read(run) as store:
        view = RunView(store)
        found = [(one.number, one.formula, one.known) for one in choices(view)]
        assert found == [(1, PARENT, False), (0, GRANDPARENT, True), (2, CHILD, False)]
        with pytest.raises(RunError, match=r"no loss 3 on the front.*expected 1 to 2"):
            pick(view, 3)
    file = cse_autoloss.export_loss(run, tmp_path / "loss.json", pick=2)
    assert cse_autoloss.load_loss(file).formula == parse(CHILD, "reg").formula
    with pytest.raises(RunError, match="no run directory"):
        cse_autoloss.export_loss("giou", tmp_path / "x.json", pick=1)


def test_while_it_goes_on_nothing_is_claimed_and_the_page_is_written_now_and_then(tmp_path: Path) -> None:
    directory = made(tmp_path / "run")
    with RunStore.open(directory) as store:
        status = RunStatus(phase="search", metric=METRIC, elapsed=65.0, done=2, total=9)
        PageWriter(store, Silent()).update(status)
        assert not (directory / FILE).exists(), "it is not time yet"
        PageWriter(store, Silent(), every=0.0).update(status)
        words = Reader((directory / FILE).read_text(encoding="utf-8")).words
        assert "Under way: nothing is claimed" in words
        assert "2 of 9 trainings; 1:05 gone" in words
        assert "so far" in words
        assert "Better than" not in words


def test_a_page_that_cannot_be_made_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("cse_autoloss.report.page.writer.page", broken)
    with RunStore.open(made(tmp_path / "run")) as store:
        writer = PageWriter(store, Silent(), every=0.0)
        writer.update(RunStatus())
        writer.update(RunStatus())
        writer.finish()
        assert [event.detail["why"] for event in store.events("no page")] == [
            "ZeroDivisionError: a defect"
        ] * 2


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    with RunStore.create(tmp_path / "run", {}) as store:
        assert "nothing is claimed" in Reader(write_page(store).read_text(encoding="utf-8")).words


def test_runs_are_listed_with_their_verdicts(run: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.sqlite").write_text("not a database at all, but long enough to be looked at")
    shutil.copytree(run, tmp_path / "one")
    first, second = cse_autoloss.list_runs(tmp_path)
    assert (first.command, first.status, first.verdict) == ("evolve", "finished", f"Better than {HOSTILE}.")
    assert second.status == "unreadable"
    assert cse_autoloss.list_runs(run)[0].directory == run
    with pytest.raises(RunError, match="no such folder"):
        cse_autoloss.list_runs(tmp_path / "nowhere")


@pytest.mark.skipif(not shutil.which("chromium") or not shutil.which("chromedriver"), reason="needs Chromium")
def test_in_a_browser_it_can_be_clicked_through(run: Path, page: str, tmp_path: Path) -> None:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
        "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.get((run / FILE).resolve().as_uri())
        assert not driver.get_log("browser"), "the browser has something to complain of"
        choice = driver.find_element("id", "front-2")
        assert not choice.get_property("open")
        point = driver.find_element("css selector", 'a[href="#front-2"] circle')
        driver.execute_script("arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true}))", point)
        assert choice.get_property("open")
        assert choice.find_element("tag name", "math").is_displayed()
        driver.find_element("css selector", "button[data-copy]").click()
        for width in (1200, 390):
            driver.set_window_size(width, 900)
            wide = driver.execute_script("return document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"at {width} pixels the page is too wide"
    finally:
        driver.quit()
