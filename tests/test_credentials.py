import base64
import html
import json
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import strategies as st

from adapter_sweep import credentials
from adapter_sweep.credentials import holds_credentials, mask_credentials, remember_credentials
from fuzzing import fuzz


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credentials, "_remembered", set())


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http%3A%2F%2Fann%3As3cret%40host%2Fx", "http%3A%2F%2F***%40host%2Fx"),
        ("{'user': 'ann', 'password': 's3 cret'}", "{'user': 'ann', 'password': '***'}"),
        ('{"token": "s3cret"}', "{\"token\": '***'}"),
        ("password='s3 cret' host=db", "password=*** host=db"),
        ("Authorization: Basic YW5uOnMzY3JldA==", "Authorization: Basic ***"),
        ("https://host/x?sig=1&X-Amz-Signature=s3cret", "https://host/x?sig=1&X-Amz-Signature=***"),
        ("backbone.revision=hf_abcdefghijklmnopqrst", "backbone.revision=***"),
        ("tokenizer=fast latency.tokens=32 a token is missing", "tokenizer=fast latency.tokens=32 a token is missing"),
        ("basic settings of the bearer", "basic settings of the bearer"),
        ("Password is wrong: ask ann@example.org", "Password is wrong: ask ann@example.org"),
    ],
)
def test_what_stands_where_credentials_stand_is_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked
    assert mask_credentials(masked) == masked


@pytest.mark.parametrize("text", ["https://ann:s3cret@host/x", "s3://b/x?token=s3cret", "hf_abcdefghijklmnopqrst"])
def test_a_value_with_a_credential_is_known_from_one_without(text: str) -> None:
    assert holds_credentials(text)
    assert not holds_credentials("data/token=3/part.csv")


def _as_written(secret: str) -> dict[str, str]:
    return {
        "raw": secret,
        "in a URL": quote(secret, safe=""),
        "in a query": quote_plus(secret),
        "in HTML": html.escape(secret),
        "in JSON": json.dumps(secret),
        "in Python": repr(secret),
        "in a header": base64.b64encode(f"ann:{secret}".encode()).decode(),
    }


@pytest.mark.parametrize("secret", ["s3cret's", "a b@c:d/e", 'qu"ote', "pässwörd", "100%", "<b>&amp;", "x\\y\nz"])
def test_a_remembered_password_is_found_however_it_is_written(secret: str) -> None:
    remember_credentials(f"study.storage=postgresql://ann:{secret}@db/ledger")
    for how, written in _as_written(secret).items():
        assert written.strip("'\"") not in mask_credentials(f"it said: {written}, and no more"), how


def test_a_remembered_password_is_masked_in_no_word_that_holds_it() -> None:
    remember_credentials("postgresql://postgres:post@db/ledger")
    assert mask_credentials("postgresql driver, post office") == "postgresql driver, *** office"


def test_a_name_before_the_host_alone_is_no_secret_and_a_token_is() -> None:
    remember_credentials("postgresql://postgres@db/ledger", "https://0123456789abcdef0123@host/")
    assert mask_credentials("postgres said no to 0123456789abcdef0123") == "postgres said no to ***"


@pytest.mark.parametrize("name", ["MLFLOW_TRACKING_PASSWORD", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "SERVICE_API_KEY"])
def test_secrets_of_the_environment_are_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "open-sesame-1")
    assert mask_credentials("it said: open-sesame-1!") == "it said: ***!"
    monkeypatch.delenv(name)
    assert mask_credentials("it said: open-sesame-1!") == "it said: open-sesame-1!"


@pytest.mark.parametrize("name", ["PWD", "TOKENIZERS_PARALLELISM", "HF_TOKEN_PATH", "HOME", "AWS_ACCESS_KEY_ID"])
def test_what_is_no_secret_of_the_environment_is_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/some/folder")
    assert mask_credentials("in /some/folder") == "in /some/folder"


def test_passwords_in_addresses_of_the_environment_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://ann:open sesame@proxy:3128")
    assert mask_credentials("the proxy refused 'open sesame'") == "the proxy refused '***'"


_PASSWORDS = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=4, max_size=30)


@fuzz(
    examples=[{"password": "p/w:8/@", "user": "ann", "around": "{}"}],
    password=_PASSWORDS,
    user=st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    around=st.sampled_from(["{}", "failed at '{}'", '{{"url": "{}"}}', "x={}&y=1", "a={} b", "({})", "\n{}\n"]),
)
def test_no_password_of_a_remembered_url_is_ever_shown(password: str, user: str, around: str) -> None:
    credentials._remembered.clear()
    url = f"postgresql+psycopg://{user}:{quote(password, safe='')}@db.example:5432/ledger?sslmode=require"
    remember_credentials(url)
    for written in (url, *_as_written(password).values()):
        shown = mask_credentials(around.format(written))
        left = shown.replace("***", "")
        alone = (password.isalpha() and password.islower()) or password.isdigit()
        if not alone and password not in around.format(url.replace(quote(password, safe=""), "")):
            assert password not in left
    assert "ledger" in mask_credentials(url) or "ledger" in password


@fuzz(text=st.text())
def test_masking_ends_and_masks_once(text: str) -> None:
    credentials._remembered.clear()
    once = mask_credentials(text)
    assert mask_credentials(once) == once


@pytest.mark.parametrize("text", ["a." * 5000, "pwd-" * 500, "pwd-" * 500 + "1=x", "eyJ-" * 4000])
def test_a_long_text_costs_no_time(text: str) -> None:
    began = time.process_time()
    assert mask_credentials(text) == text
    assert time.process_time() - began < 2.0
