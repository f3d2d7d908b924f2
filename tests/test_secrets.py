"""Credentials in addresses are refused, and never repeated."""

import logging

import pytest

from pipeline.cluster import submission
from pipeline.errors import StorageError, UsageError
from pipeline.run.logs import JsonFormatter, ShownFormatter
from pipeline.storage import s3
from pipeline.storage.open_storage import open_storage
from pipeline.storage.s3 import S3Storage
from pipeline.storage.secrets import without_secrets
from support.commands import refusal

SIGNED = "https://bucket.example/a.jpg?X-Amz-Signature=5ec2e7&X-Amz-Date=1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://AKIA1:5ec/2e7+x@bucket/a", "s3://...@bucket/a"),
        ("s3://AKIA1@bucket/a", "s3://...@bucket/a"),
        ("at https://me:5ec2e7@tsa.example/x, no", "at https://...@tsa.example/x, no"),
        (f"row 1: {SIGNED} is not in", "row 1: https://bucket.example/a.jpg?... is not in"),
        ('URL: "http://me:5ec2e7@store:9000/b?list-type=2"', 'URL: "http://...@store:9000/b?..."'),
        ("s3://bucket/user@home/a?b.jpg", "s3://bucket/user@home/a?b.jpg"),
        ("http://127.0.0.1:9000/b/user@home.jpg", "http://127.0.0.1:9000/b/user@home.jpg"),
        ("http://[::1]:8265/user@home", "http://[::1]:8265/user@home"),
        ("http://me:5ec2e7@[::1]:8265/", "http://...@[::1]:8265/"),
        ("/scans/a@b/c:d@e.jpg", "/scans/a@b/c:d@e.jpg"),
    ],
)
def test_what_is_told_has_no_credentials(text: str, told: str) -> None:
    assert without_secrets(text) == told


@pytest.mark.parametrize("uri", ["s3://AKIA1:5ec2e7@bucket/a", "https://me:5ec2e7@host/a", SIGNED])
def test_an_address_with_credentials_is_refused_without_them(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_storage(uri)
    assert "5ec2e7" not in str(caught.value)
    assert "5ec2e7" not in refusal("status", uri)
    assert "5ec2e7" not in refusal("colorize", uri, "/tmp/out", "--dry-run")


def test_a_key_may_look_like_an_address_with_credentials() -> None:
    uri = "s3://archive/http://me:5ec2e7@example.org/a?b=c/d"
    assert open_storage(uri).uri == uri


def test_hints_to_go_on_do_not_repeat_the_password_of_a_job_server() -> None:
    assert (
        submission.at("http://me:5ec2e7@127.0.0.1:8265") == " --address http://...@127.0.0.1:8265"
    )
    assert submission.at("http://127.0.0.1:8265") == " --address http://127.0.0.1:8265"
    words = refusal("logs", "autochrome-x-1", "--address", "http://me:5ec2e7@127.0.0.1:9")
    assert "no job server answers at" in words and "5ec2e7" not in words


def test_an_endpoint_with_a_password_is_not_in_the_errors_of_its_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3, "RETRIES", 1)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://me:5ec2e7@127.0.0.1:1")
    with pytest.raises(StorageError) as caught:
        S3Storage("bucket").read("a.jpg")
    assert "127.0.0.1:1" in str(caught.value) and "5ec2e7" not in str(caught.value)


def test_a_log_shows_neither_credentials_nor_commands_to_a_terminal() -> None:
    record = logging.LogRecord("a", logging.INFO, "", 1, f"\x1b[2Jb\u202e {SIGNED}", (), None)
    text = ShownFormatter("%(message)s").format(record)
    assert text == "\\x1b[2Jb\\u202e https://bucket.example/a.jpg?..."
    assert "5ec2e7" not in JsonFormatter().format(record)
