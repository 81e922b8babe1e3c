"""Neither a manifest nor an address chooses where to connect or what a driver does."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

import sasrecf_tune
from sasrecf_tune.cli.app import main
from sasrecf_tune.errors import InputError
from sasrecf_tune.inputs.settings import STORAGE_VARIABLE
from sasrecf_tune.storage.database.address import check_address
from tests.support.known_studies import NAME, plant

SERVER = "postgresql://tuner:***@127.0.0.1:1/tuning"


@pytest.fixture
def received(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study directory of somebody else, in the working directory."""
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return plant(tmp_path / "tuning", 3).directory


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("connects")

    monkeypatch.setattr("sasrecf_tune.storage.database.open.open_server", refuse)
    monkeypatch.setattr("sasrecf_tune.storage.database.open.check_connection", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)


def record(study: Path, **values: Any) -> None:
    path = study / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def enter(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sasrecf-tune", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    "words",
    [
        ["report", NAME],
        ["report", NAME, "--format", "html"],
        ["best", NAME],
        ["resume", NAME],
        ["confirm", NAME],
        ["reproduce", NAME],
        ["compare", NAME, "other"],
        ["dashboard", NAME],
        ["studies", "--delete", NAME, "--yes"],
    ],
)
def test_a_server_that_only_the_manifest_names_is_not_connected_to(
    received: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    plant(received.parent.parent / "other", 3).directory.rename(received.parent / "other")
    record(received, storage=SERVER.replace("***", "hunter2"))
    assert enter(monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert "hunter2" not in said
    assert f"{shlex.join(['sasrecf-tune', *words, '--storage', SERVER])}, or set {STORAGE_VARIABLE}" in said


def test_an_address_on_the_command_line_or_in_the_environment_is_used(
    received: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record(received, storage=SERVER)
    for given in (["--storage", SERVER.replace("***", "x")], []):
        if not given:
            monkeypatch.setenv(STORAGE_VARIABLE, SERVER.replace("***", "x"))
        assert enter(monkeypatch, "report", NAME, *given) == 1
        assert "database error: connects" in capsys.readouterr().err


def test_a_study_in_its_directory_ignores_the_environment(
    received: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enter(monkeypatch, "report", NAME, "--storage", "postgresql://dbhost/tuning") == 2
    assert "is in its directory (SQLite)" in capsys.readouterr().err
    monkeypatch.setenv(STORAGE_VARIABLE, "postgresql://dbhost/tuning")
    assert enter(monkeypatch, "report", NAME) == 0


def test_python_asks_for_the_address_too(received: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(received, storage=SERVER)
    with pytest.raises(InputError) as caught:
        sasrecf_tune.load_study(received)
    assert f"give storage {SERVER}" in caught.value.fix
    assert sasrecf_tune.load_study(received, storage="postgresql://dbhost/tuning").name == NAME
    monkeypatch.setenv(STORAGE_VARIABLE, "postgresql://dbhost/tuning")
    assert sasrecf_tune.load_study(received).name == NAME


@pytest.mark.parametrize("command", ["resume", "confirm"])
@pytest.mark.parametrize("address", ["ray://127.0.0.1:1", "127.0.0.1:6379"])
def test_a_cluster_that_only_the_manifest_names_is_not_connected_to(
    received: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    address: str,
) -> None:
    record(received, executor="ray", address=address, workers=1)
    assert enter(monkeypatch, command, NAME) == 2
    assert f"enter sasrecf-tune {command} {NAME} --address {address}." in capsys.readouterr().err
    record(received, executor="local")
    assert enter(monkeypatch, command, NAME, "--executor", "ray") == 2
    assert f"--executor ray --address {address}." in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        "local_infile=1",
        "LOCAL_INFILE=1",
        "read_default_file=/etc/passwd",
        "read_default_group=x",
        "init_command=DROP%20TABLE%20studies",
        "plugin_dir=/tmp",
        "default_auth=x",
        "auth_plugin_map=x",
        "passfile=/etc/passwd",
        "service=x",
        "servicefile=/tmp/x",
        "options=-c%20x",
        "sslrootcert=a&krbsrvname=x",
        "host=a&local_infile=1&host=b",
        "unix_socket=/a&cursorclass=x",
        "plugin=x",
    ],
)
@pytest.mark.parametrize("scheme", ["mysql", "mysql+pymysql", "mariadb", "postgresql", "postgresql+psycopg2"])
def test_options_of_drivers_that_read_files_or_run_statements_are_refused(scheme: str, option: str) -> None:
    with pytest.raises(InputError, match="not allowed in an address"):
        check_address(f"{scheme}://me@host/db?{option}")


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me@/db?host=/var/run/postgresql",
        "postgresql://me@host/db?sslmode=verify-full&sslrootcert=/etc/ca.pem&connect_timeout=5",
        "postgresql+psycopg://me@host/db?host=a:1&host=b:2&target_session_attrs=read-write",
        "mysql://me@host/db?charset=utf8mb4&ssl_ca=/etc/ca.pem&ssl_verify_cert=true",
        "mysql://me@localhost/db?unix_socket=/run/mysqld/mysqld.sock",
    ],
)
def test_options_that_say_where_and_how_to_connect_are_allowed(address: str) -> None:
    check_address(address)
