"""What must not be shown is masked, wherever it stands; all else is shown as it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.journals import Told, drawn
from tuner.cli import run_guarded
from tuner.credentials import masked, without_credentials
from tuner.endings import of_trial
from tuner.history import Record
from tuner.journal import Journal
from tuner.mailbox import Order
from tuner.progress import Lines
from tuner.triallog import TrialLog
from tuner.trials import Trial

HF = "hf_" + "aBcD1234" * 4 + "xy"
WANDB = "0123456789abcdef0123456789abcdef01234567"
WANDB_NEW = "wandb_v1_" + "Ab3_" * 8
AWS_ID = "AKIAIOSFODNN7EXAMPLE"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SESSION = "FwoGZXIvYXdzEBYaDH1234567890abcdef/+=="

TEXTS = {
    f"401 for {HF}: it has expired": HF,
    f"HTTPError: https://user:{HF}@hub.example/x": HF,
    f"wandb: ERROR API key {WANDB} is not valid": WANDB,
    f"WANDB_API_KEY={WANDB}": WANDB,
    f"wandb: neither {WANDB} nor {WANDB}": WANDB,
    f"no such user for {WANDB_NEW}": WANDB_NEW,
    f"no such key: {AWS_ID}{AWS_ID}": AWS_ID,
    f"InvalidAccessKeyId: {AWS_ID} does not exist": AWS_ID,
    f"aws_secret_access_key = {AWS_SECRET}": AWS_SECRET,
    f"{{'aws_session_token': '{SESSION}', 'region': 'x'}}": SESSION,
    f"GET https://b.s3.amazonaws.com/k?X-Amz-Signature={WANDB}&X-Amz-Expires=60": WANDB,
    f"s3://{AWS_ID}:{AWS_SECRET}@bucket/runs": AWS_SECRET,
    "postgresql://mlflow:hunter2@db.example:5432/mlflow refuses": "hunter2",
    "mysql+pymysql://u:p@ss-w0rd@host:3306/db refuses": "ss-w0rd",
    "mysql://u:it's@host/db refuses": "it's",
    "no bucket at s3://key:p@ss/word@host/bucket": "word",
    "no bucket at s3://key:p/a@ss/wo:rd@host": "wo:rd",
    "no bucket at s3://user@corp.example:p/word@host": "word",
    "no bucket at s3://key:80/word@host": "word",
    "no bucket at redis://:p/word@host": "word",
    "no bucket at 's3://key:it's/a word@host'": "word",
    "no 's3://a:b@c' at \"s3://key:p@ss/a word@host\"": "word",
    f"no bucket at https://user:{'long' * 300}/word@host": "word",
    f"DefaultEndpointsProtocol=https;AccountKey={AWS_SECRET}==;EndpointSuffix=x": AWS_SECRET,
    f"Secret key: {AWS_SECRET}": AWS_SECRET,
    "Authorization: Basic dXNlcjpwYXNz": "dXNlcjpwYXNz",
    f"Authorization: ApiKey {WANDB}": WANDB,
    "password: required1": "required1",
    "headers={'authorization': 'Bearer abcdef0123456789abcd'}": "abcdef0123456789abcd",
    "login failed: password='correct-horse'": "correct-horse",
}


@pytest.mark.parametrize(("text", "secret"), TEXTS.items())
def test_a_secret_is_masked_and_what_surrounds_it_is_not(text: str, secret: str) -> None:
    shown = masked(text)
    assert secret not in shown
    assert shown[:3] == text[:3]
    assert masked(shown) == shown
    assert "X-Amz-Expires=60" in shown or "X-Amz" not in text


@pytest.mark.parametrize(
    "text",
    [
        f"revision {WANDB} of minilm is missing",  # a commit
        "pad_token: [PAD], eos_token=</s>, token: internationalisation",
        "KeyError: 'hf_dataset_name_of_some_length'",
        "http://host:80/a:b@c and someone@example.org",
        "npm ERR! 404 http://localhost:4873/@scope/package and git+https://h:1/x@v1",
        "m://host:1,two:2/db@x and https://example.org/@user and s3://bucket/data@2/x: a@b",
        "401: authorization: failed because the server said no",
        "password: required but not given",
        "secret key: missing",
        "the loss became nan at step 30 of 90",
        "s3://bucket/runs/rte-20261120-101500: no such key",
    ],
)
def test_what_is_no_secret_is_shown_as_it_is(text: str) -> None:
    assert masked(text) == text


def test_what_the_environment_calls_a_secret_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_TOKEN", "plain words")
    monkeypatch.setenv("MY_LONGER_KEY", "plain words and more")
    monkeypatch.setenv("OTHER_KEY", "abc")
    monkeypatch.setenv("S3_KEY", "models")
    monkeypatch.setenv("MONKEY", "accuracy")
    monkeypatch.setenv("COMPAT", "transformers")
    monkeypatch.setenv("KEY", "the key itself")
    assert masked("it is plain words and more, plain words, abc") == "it is …, …, abc"
    kept = "the accuracy of models with transformers"
    assert masked(f"{kept}: the key itself") == f"{kept}: …"
    assert masked("it is given", "given ") == "it is given"
    assert masked("it is so given", "so given") == "it is …"


def test_a_text_of_a_log_s_size_is_masked_at_once() -> None:
    began = time.monotonic()
    for text in (
        "a",
        "://a:",
        "://",
        "@a",
        "u:p@",
        "token=",
        "api key",
        "secret key: ",
        f"wandb {WANDB} ",
        "'http://x ",
        '"s3://b/x@ ',
        "http://h:1/@",
    ):
        many = "://" + text * (65536 // len(text))
        assert masked(masked(many)) == masked(many)
    assert time.monotonic() - began < 2


def test_a_uri_is_shown_without_who_opens_it() -> None:
    assert without_credentials("s3://key:secret@bucket/a") == "s3://bucket/a"
    assert without_credentials("s3://key:se/cr/et@bucket/a") == "s3://bucket/a"
    assert without_credentials("mysql://u:p@ss@host:3306/db") == "mysql://host:3306/db"
    assert without_credentials("m://u:p@host:1,two:2/db") == "m://host:1,two:2/db"
    both = '{"a":"http://host:80","b":"x@y","c":"s3://k:s@b/x,s3://k:s@b/y"}'
    assert without_credentials(both) == both.replace("k:s@", "")
    assert without_credentials("http://host:80/a:b@c") == "http://host:80/a:b@c"
    assert without_credentials("see https://token@host/x and a@b") == "see https://host/x and a@b"


def test_where_a_password_ends_is_not_guessed() -> None:
    assert without_credentials("s3://key:p@ss/word@host/bucket") == "s3://host/bucket"
    assert without_credentials("s3://key:secret@bucket/a@b") == "s3://b"


URIS = [
    f"s3://{user_and_password}@bucket/runs"
    for user_and_password in (
        "key:p@ss/word",
        ":p/ss@word",
        "key:80/pass/word",
        "us%40er:p@ss:/w@word",
        "u-1:p ss/@ word",
    )
]


@pytest.mark.parametrize("uri", URIS)
def test_a_uri_that_carries_a_password_is_refused_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], uri: str
) -> None:
    rows = tmp_path / "task.yaml"
    rows.write_text(f"data: {json.dumps(uri)}\n")
    for arguments in (
        ["leaderboard", "--storage", uri],
        ["leaderboard", "--all", "--storage", uri],
        ["leaderboard", uri],
        ["report", uri.removesuffix("/runs")],
        ["predict", uri, "--split", "test", "--output", "x.csv"],
        ["plan", "--task", "demo", "--storage", uri],
        ["data", "--data", uri],
        ["data", "--task", str(rows)],
        ["tune", "--task", "demo", "--data", f"train={uri}"],
        ["tune", "--task", "demo", "--model", uri],
        ["tune", "--task", "demo", "--address", uri],
    ):
        assert run_guarded(arguments) == 2, arguments
        said = "".join(capsys.readouterr())
        assert "carries a user name or a password" in said
        assert "word" not in said.replace("password", "")


def test_no_secret_reaches_a_journal_a_log_a_tracker_or_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = f"OSError: 401 for {HF}"
    with Journal.open(tmp_path / "journal.jsonl") as journal:
        journal.append("session", planned=1, slots=1)
        name = drawn(journal, 0, Told())
        journal.append("note", text=error)
        journal.append("lost", trial=name, error=error)
        journal.append("failed", trial=name, error=error)
        assert journal.history.records[name].error == "OSError: 401 for …"
    assert HF not in (tmp_path / "journal.jsonl").read_text()

    trial = Trial(Order(name, {}), workers=1)
    with pytest.warns(UserWarning, match="401"):
        trial.warn(error)
    report = trial.report("failed", error=error)
    assert (report.error, report.warning) == ("OSError: 401 for …", "OSError: 401 for …")

    log = TrialLog(tmp_path / "t000.log")
    log.failed(OSError(error))
    log.end("failed")
    assert "401 for …" in (tmp_path / "t000.log").read_text()
    assert HF not in (tmp_path / "t000.log").read_text()

    old = Record(name, 0, {}, status="failed", error=error)  # of a journal that was not masked
    assert of_trial(old).configuration["error"] == "OSError: 401 for …"

    with (tmp_path / "said.txt").open("w+") as stream:
        Lines(stream).note(error)
        stream.seek(0)
        assert HF not in stream.read()
    assert run_guarded(["report", HF, "--storage", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "tuner:" in said
    assert HF not in said
