"""What is refused before any server is asked: options and files, in plain words."""

import re
from pathlib import Path

import pytest
from touchstone.cli import app
from touchstone.plain_options import plain_refusal
from typer.testing import CliRunner

RAW_PYDANTIC = re.compile(r"Input should|Value error|Extra inputs|Field required|unable to parse|errors\.pydantic")
HEADER = "arm,target,test_set,size,seed,image,correct\n"
JUDGE = ("judge", "{folder}/p.csv", "--a", "real", "--b", "made")
CASES = {
    ("list", "dogs"): "'dogs' is not one of 'experiments', 'upstreams'",
    ("list", "tragets"): "did you mean 'targets'?",
    ("list", "--most", "0"): "must be greater than or equal to 1",
    ("list", "--most", "many"): "must be a valid integer",
    ("steps", "x", "--state", "faild"): "did you mean 'failed'?",
    ("classes", "x", "real", "--metric", "zeroshot"): "did you mean 'zero_shot'?",
    ("report", "x", "--format", "markdwon"): "did you mean 'markdown'?",
    ("report", "x", "--metric", "zeroshot"): "did you mean 'zero_shot'?",
    (*JUDGE, "--stopping", "anytimes"): "did you mean 'anytime'?",
    (*JUDGE, "--delta", "one"): "must be a valid number",
    (*JUDGE, "--delta", "1.5"): "in accuracy: 0.01 is one point",
    (*JUDGE, "--delta", "0.5"): "in accuracy: 0.01 is one point",
    (*JUDGE, "--confidence", "3"): "confidence: must be less than 1",
    ("judge", "{folder}/none.csv", "--a", "real", "--b", "made"): "none.csv is not a file",
    ("judge", "{folder}/p.parquet", "--a", "real", "--b", "made"): "p.parquet cannot be read as parquet",
    ("keys", "create", "x", "--scope", "raed"): "did you mean 'read'?",
}


@pytest.mark.parametrize("words", CASES, ids=" ".join)
def test_an_option_or_file_is_refused_in_plain_words(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(HEADER + "real,t,test,10,0,a,1\nmade,t,test,10,0,a,0\n")
    (tmp_path / "p.parquet").write_bytes(b"no parquet")
    answer = CliRunner().invoke(app, [word.format(folder=tmp_path) for word in words], env={"COLUMNS": "300"})
    assert (answer.exit_code, answer.stdout) == (2, "")
    assert CASES[words] in " ".join(answer.stderr.split())
    assert not RAW_PYDANTIC.search(answer.stderr), answer.stderr


def test_a_message_of_our_own_stays_as_it_is() -> None:
    assert plain_refusal("'x' is not written as field=value") == "'x' is not written as field=value"
    assert plain_refusal("choose one of --csv and --json") == "choose one of --csv and --json"
