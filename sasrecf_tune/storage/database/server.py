"""Connects to a database on a server."""

from __future__ import annotations

from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url

from sasrecf_tune.environment import install_command
from sasrecf_tune.errors import InputError
from sasrecf_tune.storage.database.mysql import complete_tables, session_statement, wait_for_lock

# The server disconnects a coordinator that locks the study and idles for so long, because it was suspended or
# its network failed: sooner than others consider it dead (heartbeats.SILENT_SECONDS).
IDLE_SECONDS = 60
_CONNECT_SECONDS = 10
_ALTER_SECONDS = 300
# The drivers that the package's extras install; SQLAlchemy's default may not be installed.
_DEFAULT_DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql"}
# SQLAlchemy has two names for one dialect; Optuna knows this one.
_DIALECTS = {"mariadb": "mysql"}
# Arguments of the drivers, so that no answer is waited for on a dead connection for hours.
_LIBPQ = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
}
_DRIVER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    # Longer than a wait for a lock (mysql.session_statement).
    "pymysql": {"connect_timeout": _CONNECT_SECONDS, "read_timeout": 30, "write_timeout": 30},
    # MariaDB's client library sends files that the server asks for, unless told not to.
    "mysqldb": {"connect_timeout": _CONNECT_SECONDS, "local_infile": 0},
}


def open_server(address: str) -> RDBStorage:
    """Connect, creating tables where there are none.

    Raises:
        ImportError: the driver is not installed.
        StorageError: another run has been creating the tables for minutes.
        Exception: SQLAlchemy, Optuna or the driver fails.
    """
    url, options = _engine_options(address)
    # Altering the tables of a large study that another program created takes long.
    arguments = options["connect_args"]
    patient = arguments | ({"read_timeout": _ALTER_SECONDS} if "read_timeout" in arguments else {})
    engine = create_engine(url, **options | {"connect_args": patient})
    try:
        with engine.connect() as connection:
            # Optuna creates its tables as if nobody else could be doing so.
            kind = url.get_backend_name()
            if kind == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_advisory_key("sasrecf_tune"))))
            elif kind == "mysql":
                wait_for_lock(connection, url.database or "")
            opened = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
            if kind == "mysql":
                complete_tables(connection)
    finally:
        engine.dispose()
    _set_limits(opened.engine)
    return opened


def open_server_to_read(address: str) -> RDBStorage:
    """Connect to a database that has Optuna's tables; nothing is created or changed in it.

    Raises:
        ImportError: the driver is not installed.
        Exception: SQLAlchemy, Optuna or the driver fails.
    """
    url, options = _engine_options(address)
    address = url.render_as_string(hide_password=False)
    return RDBStorage(address, engine_kwargs=options, skip_table_creation=True)


def check_connection(address: str) -> None:
    """Connect, and disconnect.

    Raises:
        ImportError: the driver is not installed.
        Exception: SQLAlchemy or the driver fails.
    """
    url, options = _engine_options(address)
    engine = create_engine(url, **options)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _engine_options(address: str) -> tuple[URL, dict[str, Any]]:
    url = with_driver(make_url(address))
    arguments = _DRIVER_ARGUMENTS.get(url.get_driver_name(), {})
    return url, {
        "connect_args": {key: value for key, value in arguments.items() if key not in url.query},
        # Whoever locks the study must see everything that was committed before.
        "isolation_level": "READ COMMITTED",
    }


def with_driver(url: URL) -> URL:
    """Add the driver that the package's extras install to the address, unless it names one."""
    dialect, _, driver = url.drivername.partition("+")
    dialect = _DIALECTS.get(dialect, dialect)
    driver = driver or _DEFAULT_DRIVERS.get(dialect, "")
    return url.set(drivername=f"{dialect}+{driver}" if driver else dialect)


def missing_driver(address: str, where: str) -> InputError:
    """The error that the driver of the address is not installed, or cannot be loaded."""
    url = with_driver(make_url(address))
    kind = url.get_backend_name()
    driver = url.drivername.partition("+")[2]
    command = f"where this package was installed from: {install_command(extra=kind)}"
    fix = f"Install it; or write {kind}://..., and install the driver for that {command}"
    if driver == _DEFAULT_DRIVERS.get(kind):
        fix = f"Install it {command}"
    return InputError(
        f"the database driver {driver} is not installed, or is incomplete", where=where, fix=fix
    )


def _set_limits(engine: Engine) -> None:
    """Set time limits for all connections from now on."""
    engine.dispose()

    def set_limits(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for statement in _limit_statements(engine.dialect.name):
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", set_limits)


def _limit_statements(dialect: str) -> tuple[str, ...]:
    if dialect == "postgresql":
        return (
            f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'",
            f"SET lock_timeout = '{2 * IDLE_SECONDS}s'",
        )
    if dialect == "mysql":
        return (session_statement(IDLE_SECONDS),)
    return ()


def _advisory_key(name: str) -> int:
    return int.from_bytes(name.encode()[:7])
