"""`touchstone judge`: the verdict at a terminal on a file of predictions, and what it says to a wrong one."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from touchstone.cli import app
from touchstone.predictions import read_predictions
from touchstone_contracts.experiment import Comparison
from touchstone_contracts.views import Verdict
from touchstone_verdict.judge import judge
from typer.testing import CliRunner, Result

IMAGES = 60


def predictions(**changes: object) -> pa.Table:
    """Two arms at two sizes, three seeds; ids that look like numbers."""
    runs = [(arm, size, seed) for arm in ("real", "made") for size in (10, 20) for seed in range(3)]
    rng = np.random.default_rng(3)
    columns = {
        "arm": [arm for arm, _, _ in runs for _ in range(IMAGES)],
        "target": ["flags"] * len(runs) * IMAGES,
        "test_set": ["test"] * len(runs) * IMAGES,
        "size": [size for _, size, _ in runs for _ in range(IMAGES)],
        "seed": [seed for _, _, seed in runs for _ in range(IMAGES)],
        "image": [f"{number:04d}" for _ in runs for number in range(IMAGES)],
        "correct": [rng.random() < (0.9 if arm == "real" else 0.3) for arm, _, _ in runs for _ in range(IMAGES)],
    }
    return pa.table({name: column for name, column in (columns | changes).items() if column is not None})


def write(table: pa.Table, path: Path) -> Path:
    if path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    return path


def judged(path: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["judge", str(path), "--a", "real", "--b", "made", *options])


@pytest.mark.parametrize("name", ["found.parquet", "found.csv"])
def test_a_file_is_judged_as_its_columns_are(tmp_path: Path, name: str) -> None:
    path = write(predictions(), tmp_path / name)
    verdict = judge(read_predictions(path), Comparison(a="real", b="made"))
    assert (verdict.answer, verdict.primary.test_images) == ("a_better", IMAGES)
    answer = judged(path, "--json")
    assert answer.exit_code == 0
    assert Verdict.model_validate_json(answer.stdout) == verdict


def test_csv_and_parquet_say_the_same(tmp_path: Path) -> None:
    of_csv, of_parquet = (judged(write(predictions(), tmp_path / name), "--json") for name in ("a.csv", "a.parquet"))
    assert json.loads(of_csv.stdout) == json.loads(of_parquet.stdout)


def test_texts_may_be_stored_by_dictionary_and_in_several_chunks(tmp_path: Path) -> None:
    table = predictions()
    encoded = table.set_column(0, "arm", table["arm"].dictionary_encode())
    chunked = pa.concat_tables([encoded.slice(0, 100), encoded.slice(100)])
    assert judged(write(chunked, tmp_path / "a.parquet"), "--json").stdout == (
        judged(write(table, tmp_path / "b.parquet"), "--json").stdout
    )


def test_rows_with_the_same_text_share_it(tmp_path: Path) -> None:
    columns = read_predictions(write(predictions(), tmp_path / "found.parquet"))
    assert len({id(text) for text in np.asarray(columns["image"])}) == IMAGES


def test_the_verdict_is_printed_as_an_experiments_is(tmp_path: Path) -> None:
    answer = judged(write(predictions(), tmp_path / "found.csv"), "--delta", "0.02", "--confidence", "0.9")
    assert answer.exit_code == 0
    assert answer.stdout.startswith("Verdict: real beats made by ")
    assert "90 % interval, smallest difference that matters 2.0" in answer.stdout
    assert "Exchange rate: images of equal ZS" in answer.stdout


def test_options_name_metric_test_set_and_stopping(tmp_path: Path) -> None:
    rows = 12 * IMAGES
    table = predictions(test_set=["sketch"] * rows, metric=["linear_probe"] * rows)
    options = ("--metric", "linear_probe", "--test-set", "sketch", "--stopping", "anytime", "--json")
    verdict = Verdict.model_validate_json(judged(write(table, tmp_path / "found.parquet"), *options).stdout)
    assert (verdict.primary.metric, verdict.primary.test_set, verdict.stopping) == ("linear_probe", "sketch", "anytime")


def test_declared_looks_are_options_too(tmp_path: Path) -> None:
    path = write(predictions(), tmp_path / "found.parquet")
    options = ("--stopping", "planned", "--look", "2", "--look", "3", "--spending", "pocock")
    verdict = Verdict.model_validate_json(judged(path, *options, "--json").stdout)
    assert (verdict.stopping, verdict.answer) == ("planned", "a_better")
    assert "you may stop" in judged(path, *options).stdout


def test_looks_without_a_plan_are_refused(tmp_path: Path) -> None:
    answer = judged(write(predictions(), tmp_path / "found.parquet"), "--look", "3")
    assert answer.exit_code == 2
    assert "looks and spending belong to stopping 'planned'" in answer.stderr


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"seed": None}, (), "have no column seed (number of the run)"),
        ({"correct": ["maybe"] * 12 * IMAGES}, (), "column correct holds 'maybe'; it takes 1 or true"),
        ({"correct": [None] * 12 * IMAGES}, (), "column correct holds"),
        ({"arm": [None, *["real"] * (12 * IMAGES - 1)]}, (), "column arm holds None"),
        ({}, ("--b", "dreamt"), "there is no arm 'dreamt' in the predictions; they have made, real"),
        ({}, ("--test-set", "sketch"), "no test set 'sketch' in the predictions; they have test"),
        ({}, ("--metric", "luck"), "luck"),
        ({}, ("--delta", "3"), "delta is 3: give it in accuracy: 0.01 is one point"),
        ({}, ("--a", "Real"), "a: must be a name in lower-case letters"),
    ],
)
def test_what_is_at_fault_is_said_in_one_message(
    tmp_path: Path, changes: dict[str, object], options: tuple[str, ...], words: str
) -> None:
    answer = judged(write(predictions(**changes), tmp_path / "found.parquet"), *options)
    assert (answer.exit_code, words in answer.stderr, answer.stdout) == (2, True, ""), answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_empty_file_has_no_predictions(tmp_path: Path) -> None:
    answer = judged(write(predictions().slice(0, 0), tmp_path / "found.parquet"))
    assert (answer.exit_code, "no rows" in answer.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("found.json", "read from files that end in .parquet or .csv"),
        ("lost.parquet", "lost.parquet"),
        ("lost.csv", "lost.csv"),
        ("torn.parquet", "torn.parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "found.json").write_text("{}")
    answer = judged(tmp_path / name)
    assert (answer.exit_code, words in answer.stderr.replace("\n", "")) == (2, True), answer.stderr


@pytest.mark.parametrize("module", ["pyarrow", "touchstone_verdict", "numpy"])
def test_without_the_extra_the_command_says_how_to_install_it(tmp_path: Path, module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from touchstone.cli import app; app()"
    command = [sys.executable, "-c", code, "judge", "found.csv", "--a", "real", "--b", "made"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr.startswith(module)
    assert answer.stderr.endswith(" is missing: pip install 'touchstone-lab[judge]'\n")


def test_the_rest_of_the_client_needs_neither_numpy_nor_pyarrow() -> None:
    absent = "".join(f"sys.modules[{name!r}] = None; " for name in ("numpy", "scipy", "pyarrow", "touchstone_verdict"))
    command = [sys.executable, "-c", f"import sys; {absent}from touchstone.cli import app; app()", "--help"]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == 0
