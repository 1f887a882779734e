"""The command line as a user meets it: answers, exit codes, one-line errors."""

import contextlib
import io
import json
import subprocess
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

import cse_autoloss
from cse_autoloss.cli.app import app, main
from cse_autoloss.errors import AutoLossError, FormulaError

CLS = "Neg(Log(Sig(Mul(Sub(PY,NY),X))))"


@dataclass
class Answer:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, cwd: Path | None = None) -> Answer:
    """The command in this process: a new one would spend its time on importing torch."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        contextlib.chdir(cwd or Path.cwd()),
    ):
        patch.setattr(sys, "argv", ["cse-autoloss", *arguments])
        try:
            main()
        except SystemExit as end:
            code = end.code
    return Answer(code if isinstance(code, int) else 0 if code is None else 1, out.getvalue(), err.getvalue())


def test_version_and_help_import_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['cse-autoloss', '--help']\n"
        "from cse_autoloss.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'sympy', 'numpy', 'matplotlib', 'pydantic', 'deap') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "evolve" in out
    assert out.rstrip().endswith("[]")
    assert run("--version").stdout.startswith("cse-autoloss 0.")


def test_package_import_is_light() -> None:
    code = "import sys, cse_autoloss; dir(cse_autoloss); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_public_names_are_all() -> None:
    assert sorted(cse_autoloss.__all__) == dir(cse_autoloss) == sorted({*cse_autoloss._HOME, "__version__"})
    for name in cse_autoloss.__all__:
        public = getattr(cse_autoloss, name)
        assert not isinstance(public, types.ModuleType), f"a folder hides {name}"
        assert name == "__version__" or public.__doc__, f"{name} is not documented"
    with pytest.raises(AttributeError, match="no attribute 'evolv'"):
        _ = cse_autoloss.evolv


COMMANDS = {
    "evolve": ("evolve", []),
    "reinforce": ("reinforce_loss", []),
    "compare": ("compare_losses", ["focal+giou"]),
    "report": ("report_run", ["runs/mine"]),
    "runs": ("list_runs", []),
    "init": ("init_config", []),
    "evolve --dry-run": ("plan_run", []),
    "filter-audit": ("audit_filters", ["runs/mine"]),
    "predict": ("predict_images", ["runs/mine"]),
    "train": ("train_detector", []),
    "data": ("inspect_data", ["photographs"]),
    "verify": ("verify", ["giou"]),
    "certify": ("certify_loss", ["giou"]),
    "simulate": ("simulate", ["giou"]),
    "losses": ("list_losses", []),
    "losses --like": ("find_alike", [CLS]),
    "render": ("render_loss", ["giou", "-o", "loss.svg"]),
    "export": ("export_loss", ["giou", "-o", "loss.py"]),
    "explain": ("explain_loss", ["giou", "-o", "loss.html"]),
}
"""Each command, the public function that it calls, and what is given behind the command."""


def test_the_table_of_commands_is_whole() -> None:
    shown = {command.name for command in app.registered_commands if not command.hidden}
    assert shown == {name.split()[0] for name in COMMANDS}


def test_the_old_name_of_filter_audit_still_works_and_is_not_listed() -> None:
    (old,) = (command for command in app.registered_commands if command.hidden)
    (new,) = (command for command in app.registered_commands if command.name == "filter-audit")
    assert (old.name, old.callback) == ("audit", new.callback)
    listed = [line.split()[1] for line in run("--help").stdout.splitlines() if len(line.split()) > 2]
    assert "filter-audit" in listed
    assert "audit" not in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_a_function_of_the_package(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    function, given = COMMANDS[name]

    def called(*arguments: object, **options: object) -> None:
        raise FormulaError(f"{function} was called")

    assert function in cse_autoloss.__all__
    monkeypatch.setattr(cse_autoloss, function, called)
    answer = run(*name.split(), *given)
    assert (answer.returncode, answer.stderr) == (2, f"error: {function} was called\n")


@pytest.mark.parametrize(
    "arguments",
    [("verify", "X\x1b[31m"), ("explain", "giou", "-o", "page\x1b[2J.pdf"), ("losses", "--\x1b]0;x\x07")],
)
def test_control_characters_are_shown_and_not_obeyed(arguments: tuple[str, ...]) -> None:
    answer = run(*arguments)
    assert answer.returncode == 2
    assert "\\x1b" in answer.stderr
    assert all(sign == "\n" or sign.isprintable() for sign in answer.stderr)


def test_a_run_without_that_slot_is_not_another_loss(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "run.sqlite").touch()
    assert run("render", str(tmp_path), "-o", "x.svg").stderr.count("no discovered loss yet") == 1
    run("export", "giou", "-o", str(tmp_path / "best" / "loss.json"))
    answer = run("export", str(tmp_path), "-o", str(tmp_path / "x.py"), "--signature", "cls-binary")
    assert (
        answer.returncode,
        "did you mean" in answer.stderr or "expected one of: reg" in answer.stderr,
    ) == (2, True)
    assert run("render", str(tmp_path), "-o", str(tmp_path / "x.svg"), "--signature", "reg").returncode == 0
    assert run("explain", str(tmp_path), "-o", str(tmp_path / "page.html")).returncode == 0


def test_verify_answers_and_exit_codes() -> None:
    good = run("verify", "giou")
    assert (good.returncode, good.stdout[:8]) == (0, "accepted")
    bad = run("verify", "Neg(Div(I,U))", "--signature", "reg", "--json")
    assert bad.returncode == 0
    worse = run("verify", "Div(I,U)", "--signature", "reg", "--json")
    assert worse.returncode == 1
    answer = json.loads(worse.stdout)[0]
    assert answer["accepted"] is False
    assert answer["reason"]
    assert answer["where"]


def test_verify_takes_points_of_families_and_what_the_inputs_tell() -> None:
    names = [
        "focal",
        "focal(gamma=2)",
        "giou",
        "Add(Sub(1,Div(I,U)),Div(Sub(E,U),E))",
        "Neg(Dot(Y,Log(Softmax(X))))",
    ]
    focal, point, giou, formula, several = cse_autoloss.verify(names)
    assert (focal.reason, giou.reason) == (point.reason, formula.reason)
    assert "boxes" in giou.reason
    assert all((focal, giou, several))
    for text, words in (
        ("focal(gamma=-1)", "focal: gamma: expected a number from 0"),
        ("focal(gama=1)", "unknown parameter of focal 'gama'; did you mean 'gamma'"),
        ("focal", "'focal' is a cls-binary loss, not reg"),
    ):
        with pytest.raises(AutoLossError, match=words):
            cse_autoloss.verify(text, "reg")
        with pytest.raises(AutoLossError, match=words):
            cse_autoloss.simulate(text, "reg")


def test_a_signature_that_is_a_guess_is_told() -> None:
    told = "X: no signature is told, taken as cls-binary; --signature says another\n"
    for command in ("verify", "simulate"):
        assert run(command, "X").stderr == told
        assert run(command, "X", "--signature", "cls-binary").stderr == ""
    assert run("verify", CLS).stderr == run("verify", "focal(gamma=1)").stderr == ""


def test_guesses_of_a_file_are_told_on_one_line(tmp_path: Path) -> None:
    (tmp_path / "formulas.txt").write_text(f"X\n{CLS}\nNeg(X)\n")
    told = run("verify", "--file", str(tmp_path / "formulas.txt")).stderr
    assert told.startswith("X and 1 more: no signature is told, taken as cls-binary")


def test_verify_many_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "formulas.txt").write_text(f"# mine\n{CLS}\n\nNeg({CLS})\n")
    answer = run("verify", "--file", str(tmp_path / "formulas.txt"))
    assert answer.returncode == 1
    assert [line.split("\t")[1][:8] for line in answer.stdout.splitlines()] == ["accepted", "rejected"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("verify", "Neg(Sigg(X))"), "did you mean 'Sig'"),
        (("verify", "focl"), "did you mean 'focal'"),
        (("verify", "X", "--signature", "cls-binry"), "did you mean 'cls-binary'"),
        (("verify",), "either a formula or --file"),
        (("verify", "--file", "nowhere.txt"), "nowhere.txt"),
        (("render", CLS, "-o", "graph.bmp"), ".svg"),
        (("export", "giou", "-o", "nowhere/at/all.py"), "nowhere/at/all.py"),
        (("export", "l1", "-o", "l1.json"), "is no expression; it is written as .py"),
        (("evolve", "--budget", "5x"), "20m"),
        (
            ("evolve", "--log", "tensorbord"),
            "expected 'tensorboard', 'mlflow' or 'wandb', got 'tensorbord'; did you",
        ),
        (("compare", ""), "unknown loss ''"),
        (("evolve", "--task", "detecton"), "did you mean 'detection'"),
        (("evolve", "--config", "nowhere.yaml"), "nowhere.yaml"),
        (("evolve", "--set", "evolution.populaton=3"), "did you mean 'population'"),
        (("evolve", "--set", "nonsense"), "key=value"),
        (("evolve", "--resume", "nowhere"), "nowhere"),
        (("losses", "--signature", "regr"), "did you mean 'reg'"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    answer = run(*arguments, cwd=tmp_path)
    assert answer.returncode == 2
    assert words in answer.stderr
    assert answer.stderr.startswith("error: ")
    assert answer.stderr.count("\n") == 1
    assert "Traceback" not in answer.stderr


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(FormulaError):
        run("--debug", "verify", "Neg(Sigg(X))")


def test_unknown_options_exit_with_2() -> None:
    assert run("evolve", "--bugdet", "5m").returncode == 2


def test_several_mistakes_are_one_line_and_a_hint_fits_the_task(tmp_path: Path) -> None:
    answer = run("evolve", "--set", "evolution.populaton=5", "--set", "workers=0")
    assert answer.returncode == 2
    assert "at least 1, got 0; options: evolution.populaton: unknown key" in answer.stderr
    assert "\\n" not in answer.stderr
    none = run("evolve", "--task", "regression", "--search", "reinforce", "--out", str(tmp_path / "run"))
    assert none.stderr.endswith("regression has loss (regression); search=evolution searches any\n")


def test_what_losses_read_is_an_option() -> None:
    answer = run("evolve", "--spaces", "extendet")
    assert answer.returncode == 2
    assert answer.stderr.strip() == (
        "error: options: detection.spaces: expected 'paper', 'extended' or 'wide', got 'extendet'; "
        "did you mean 'extended'?"
    )
    assert "faces.spaces: unknown key" in run("evolve", "--task", "faces", "--spaces", "extended").stderr


def test_render_and_export_write_files(tmp_path: Path) -> None:
    for name in ("graph.svg", "graph.dot"):
        assert run("render", CLS, "-o", name, cwd=tmp_path).returncode == 0
        assert (tmp_path / name).stat().st_size > 100
    assert run("export", "cse-autoloss-b-cls", "-o", "loss.py", cwd=tmp_path).returncode == 0
    text = (tmp_path / "loss.py").read_text()
    assert "cse_autoloss" not in [line.split()[1] for line in text.splitlines() if line.startswith("import ")]
    assert run("export", "giou", "-o", "loss.json", cwd=tmp_path).returncode == 0
    assert json.loads((tmp_path / "loss.json").read_text())["signature"] == "reg"
    assert run("verify", "giou", cwd=tmp_path).returncode == 0


def test_catalogue() -> None:
    names = {entry["name"] for entry in json.loads(run("losses", "--json").stdout)}
    assert {
        "bce",
        "focal",
        "cross-entropy",
        "iou",
        "giou",
        "cse-autoloss-a-cls",
        "cse-autoloss-a-reg",
    } <= names
    assert {"cse-autoloss-b-cls", "cse-autoloss-b-reg"} <= names
    assert "binary cross-entropy times 3" in run("losses", "--like", f"Mul(3,{CLS})").stdout


def test_simulate() -> None:
    answer = run("simulate", "Neg(Log(Sig(X)))", "--json")
    assert answer.returncode == 1
    assert json.loads(answer.stdout)["code"] == "does-not-learn"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict",), ("filter-audit",), ("evolve", "--resume"), ("evolve", "--config", "smoke", "--out"),
        ("compare", "--resume"), ("reinforce", "--resume"), ("train", "--resume"), ("compare",),
    ],
)  # fmt: skip
def test_a_name_that_is_too_long_for_a_file_is_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    answer = run(*arguments, "c" * 300, cwd=tmp_path)
    assert answer.returncode == 2
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "Traceback" not in answer.stderr


def test_a_formula_may_be_longer_than_a_file_name() -> None:
    long = "Add(Sub(1,Div(I,U))," * 20 + "U" + ")" * 20
    assert run("losses", "--like", long, "--signature", "reg").returncode == 0
    answer = run("compare", f"mine=bce+{long}", "--detector", "two-stage")
    assert answer.returncode == 2
    assert "cls-binary" in answer.stderr


def test_the_package_itself_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cse_autoloss", "losess"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "losses" in done.stderr
    assert "Traceback" not in done.stderr
