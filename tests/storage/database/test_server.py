"""Addresses of database servers: drivers, mistakes, and servers that do not respond."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from sasrecf_tune.cli.app import app
from sasrecf_tune.cli.session import open_session
from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import InputError, StorageError
from sasrecf_tune.executors.allocation import Allocation
from sasrecf_tune.inputs.metrics import parse_metric
from sasrecf_tune.inputs.settings import RunSettings
from sasrecf_tune.storage.database.open import open_storage
from sasrecf_tune.storage.database.server import with_driver
from sasrecf_tune.storage.directory import StudyDirectory

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("address", "driver"),
    [
        ("postgresql://me@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://me@host/db", "postgresql+psycopg2"),
        ("mysql://me@host/db", "mysql+pymysql"),
        ("mysql+mysqldb://me@host/db", "mysql+mysqldb"),
        ("mariadb://me@host/db", "mysql+pymysql"),
        ("mariadb+pymysql://me@host/db", "mysql+pymysql"),
        ("mariadb+mysqldb://me@host/db", "mysql+mysqldb"),
    ],
)
def test_an_address_selects_the_driver_that_the_extra_installs(address: str, driver: str) -> None:
    assert with_driver(make_url(address)).drivername == driver


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite:///study.db", "SQLite is not a server"),
        ("tuning", "not a database address"),
        ("mysql://me:secret@host:abc/tuning", "the port is not a number"),
        ("mysql://me:sec@ret@host/tuning", "Write %40 for each @"),
        ("mysql://me@host", "has no database name"),
    ],
)
def test_invalid_storage_addresses_are_rejected_by_run(
    cli: Cli, tmp_path: Path, address: str, message: str
) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01]\n")
    done = cli("run", "--params-file", "hyper.test", "--dataset", "ml-100k", "--storage", address)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
    assert "secret" not in done.stderr and "ret@" not in done.stderr
    assert not (tmp_path / "tuning").exists()


def test_a_dry_run_rejects_an_invalid_address(tmp_path: Path) -> None:
    (tmp_path / "hyper.test").write_text("learning_rate choice [0.01]\n")
    words = ["run", "--params-file", str(tmp_path / "hyper.test"), "--dry-run", "--storage", "tuning"]
    with pytest.raises(InputError, match="not a database address"):
        CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.mark.parametrize(
    ("address", "fix"),
    [
        ("postgres://me@host/db", "Write postgresql://"),
        ("mysq://me@host/db", "mysql://USER@HOST/DATABASE"),
        ("oracle://me@host/db", "such as postgresql://"),
    ],
)
def test_addresses_of_unsupported_databases_are_rejected(
    study_dir: StudyDirectory, address: str, fix: str
) -> None:
    with pytest.raises(InputError) as caught:
        open_storage(study_dir, address)
    assert fix in caught.value.fix and address.partition(":")[0] in caught.value.what


@pytest.mark.parametrize(
    ("address", "missing", "fix"),
    [
        ("mysql://me@host/db", "pymysql", "Install it where"),
        ("mariadb+mysqldb://me@host/db", "MySQLdb", "or write mysql://..., and install"),
        ("postgresql+psycopg2://me@host/db", "psycopg2", "or write postgresql://..., and install"),
        ("postgresql+no_such_one://me@host/db", "no_such_one", "or write postgresql://..., and install"),
    ],
)
def test_a_missing_driver_is_an_error_with_the_install_command(
    study_dir: StudyDirectory, monkeypatch: pytest.MonkeyPatch, address: str, missing: str, fix: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    extra = "postgresql" if "postgresql" in address else "mysql"
    with pytest.raises(InputError) as caught:
        open_storage(study_dir, address)
    assert caught.value.what == f"the database driver {missing.lower()} is not installed, or is incomplete"
    assert fix in caught.value.fix and caught.value.fix.endswith(install_command(extra=extra))
    assert "constraints-new.txt '.[mysql]' && pip" in install_command((3, 12), "mysql")


def test_an_unreachable_server_is_an_error_before_data_is_prepared(tmp_path: Path) -> None:
    address = "postgresql://tuner:s3cret@127.0.0.1:1/tuning"
    name = "study"
    settings = RunSettings(
        params_file=Path("hyper.test"),
        name=name,
        out=tmp_path,
        base={},
        metric=parse_metric("MRR@10"),
        storage=address,
    )
    with (
        pytest.raises(StorageError, match=r"onnection refused(.|\n)*whether the server runs") as caught,
        open_session(settings, StudyDirectory(tmp_path / name), Allocation()),
    ):
        pytest.fail("has begun")
    assert "s3cret" not in str(caught.value)
