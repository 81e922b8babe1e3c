"""Passwords in database addresses are neither shown nor stored."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.storage.database import errors
from sasrecf_tune.storage.database.address import check_address
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.directory import StudyDirectory
from sasrecf_tune.storage.manifest import write_manifest
from sasrecf_tune.storage.url_masking import HIDDEN, is_masked, mask_address, mask_command, mask_message


def test_an_error_does_not_show_the_password(study_dir: StudyDirectory) -> None:
    with pytest.raises(StorageError) as caught:
        open_storage(study_dir, "postgresql://me:secret@localhost:1/none")
    assert "secret" not in str(caught.value)


def test_the_manifest_does_not_store_the_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study_dir = StudyDirectory(tmp_path / "study")
    study_dir.directory.mkdir()
    monkeypatch.setattr("sys.argv", ["sasrecf-tune", "run", "--storage=postgresql://me:s3/cr:et@host/db"])
    write_manifest(study_dir, {})
    text = study_dir.manifest.read_text()
    assert "s3/cr" not in text and "--storage=postgresql://me:***@host/db" in text
    with pytest.raises(InputError, match="not stored"):
        open_storage(study_dir, "postgresql://me:***@host/db")


def test_a_password_in_the_query_is_masked(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = (
        "postgresql://me@host/db?passfile=/home/me/.pgpass&PassWord=s3cret&sslmode=require&sslpassword=t0p"
    )
    safe = "postgresql://me@host/db?passfile=/home/me/.pgpass&PassWord=***&sslmode=require&sslpassword=***"
    assert mask_address(address) == safe
    shown = errors.display_url(study_dir, address)
    assert "s3cret" not in shown and "t0p" not in shown and "PassWord=***" in shown
    monkeypatch.setattr("sys.argv", ["sasrecf-tune", "run", f"--storage={address}"])
    write_manifest(study_dir, {"study": "study"})
    assert f"--storage={safe}" in study_dir.manifest.read_text()
    with pytest.raises(InputError, match="is not stored with the study"):
        open_storage(study_dir, shown)


SECRET = "Tr0ub4dor"
anything = st.text(max_size=12)
plain = st.text(alphabet="abcxyz-_.", min_size=1, max_size=8)
queries = st.dictionaries(plain, plain, max_size=3).map(lambda q: "&".join(f"{k}={v}" for k, v in q.items()))


@example("a b", "c d", "me", "host", "")
@example("@", "?x=1&", "me", "host", "sslmode=require")
@example("/", "#", "a@b", "", "host=/run/db")
@example("%40", "\n", "", "host:5432", "")
@given(
    anything, anything, plain | st.just(""), plain | st.sampled_from(["", "h:5432", "[::1]:5432"]), queries
)
def test_a_password_of_any_characters_is_masked(
    before: str, after: str, user: str, host: str, query: str
) -> None:
    password = before + SECRET + after
    end = f"{host}/db" + (f"?{query}" if query else "")
    for written in (password, quote(password, safe=""), quote_plus(password)):
        address = f"postgresql://{user}:{written}@{end}"
        assert mask_address(address) == f"postgresql://{user}:{HIDDEN}@{end}"
        assert is_masked(mask_address(address))
        for command in (["run", "--storage", address], ["run", f"--storage={address}"]):
            assert SECRET not in repr(mask_command(command))


@example("sslpassword", " ", " ", False)
@example("password", "", "&", False)
@example("password", "", "=?", False)
@given(
    st.sampled_from(["password", "sslpassword", "passwd", "PassWord", "auth_token"]),
    anything,
    anything,
    st.booleans(),
)
def test_a_password_of_any_characters_in_an_argument_is_masked(
    key: str, before: str, after: str, encoded: bool
) -> None:
    # After an & that is not written as %26, another argument begins, whose name is no secret.
    assume("&" not in before)
    written = (
        quote(key[0], safe="") + quote_plus(before + SECRET + after) if encoded else before + SECRET + after
    )
    name = f"%{ord(key[0]):02x}{key[1:]}" if encoded else key
    address = f"mysql://me@host/db?charset=utf8&{name}={written}"
    assert SECRET not in mask_address(address)
    assert mask_address(address).startswith("mysql://me@host/db?charset=utf8&") or "@" in after + before


@given(anything, anything)
def test_what_sqlalchemy_takes_for_a_password_is_masked(text: str, end: str) -> None:
    address = f"postgresql://{text}{SECRET}{end}"
    try:
        password = make_url(address).password
    except (ArgumentError, ValueError):
        assume(False)
    if SECRET in (password or ""):
        assert SECRET not in mask_address(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://host:5432/db", "postgresql://host:5432/db"),
        ("postgresql://me@host/db?options=-cx%3Dy", "postgresql://me@host/db?options=-cx%3Dy"),
        ("postgresql://[::1]:5432/db", "postgresql://[::1]:5432/db"),
        ("postgresql://me:secret", "postgresql://me:***"),
        ("postgresql://me:se/cret@host/db", "postgresql://me:***@host/db"),
        ("me:secret@host/db", "***"),
        ("postgresql:///?dbname=postgresql%3A%2F%2Fme%3Asecret%40host", "postgresql:///?dbname=***"),
    ],
)
def test_addresses_are_shown_without_passwords(address: str, shown: str) -> None:
    assert mask_address(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:secret",
        "postgresql://me:s@secret@host/db",
        "postgresql://me:s@w/secret@host/db",
        "me:secret@host",
        "oracle://me:secret@host/db",
        "sqlite://me:secret@host/db",
        "postgres://me:secret@host/db",
        "mysql://me:secret@host",
        "postgresql://me:***@host/db?sslpassword=secret",
    ],
)
def test_a_refused_address_is_shown_without_its_password(address: str) -> None:
    with pytest.raises(InputError) as caught:
        check_address(address)
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_a_drivers_message_is_shown_without_the_password() -> None:
    address = "postgresql://me:top%20secret@host/db?sslpassword=an%26other"
    message = 'invalid option "top secret" in "an&other", top%20secret'
    assert mask_message(message, address) == 'invalid option "***" in "***", ***'
