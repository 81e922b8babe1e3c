"""A study's database on a server: how it is connected to."""

from __future__ import annotations

from typing import Any

from optuna.storages import RDBStorage
from sqlalchemy import Engine, create_engine, event, func, select
from sqlalchemy.engine import URL, make_url

from sasrecf_tune.environment import install_command
from sasrecf_tune.storage.database.mysql import complete_tables, session_limits, wait_for_turn

# A coordinator that holds the study and does nothing, since it was stopped or its network is gone, is thrown
# out after so long: less than what makes others take it for dead (coordinators.SILENT_SECONDS).
IDLE_SECONDS = 60
_CONNECT_SECONDS = 10
_CHANGE_SECONDS = 300
# The extras' drivers, for addresses that name none; SQLAlchemy's own choice may not be installed.
_OURS = {"postgresql": "psycopg", "mysql": "pymysql"}
# SQLAlchemy has two names for one dialect, of which Optuna knows this one.
_SAME = {"mariadb": "mysql"}
# Arguments of the drivers by name. A connection whose other side is gone must not be waited on for hours.
_LIBPQ = {
    "connect_timeout": _CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
}
_DRIVERS: dict[str, dict[str, Any]] = {
    "psycopg": _LIBPQ,
    "psycopg2": _LIBPQ,
    # It may wait for a lock, but not longer (mysql.session_limits).
    "pymysql": {"connect_timeout": _CONNECT_SECONDS, "read_timeout": 30, "write_timeout": 30},
    "mysqldb": {"connect_timeout": _CONNECT_SECONDS},
}


def open_server(address: str) -> RDBStorage:
    """Connect, creating tables where there are none.

    Raises:
        ImportError: the driver is not installed.
        StorageError: another run has been making the tables for minutes.
        Exception: whatever SQLAlchemy, Optuna and the driver raise.
    """
    url, options = _connecting(address)
    # A large study's tables, made by another program, take long to be changed.
    arguments = options["connect_args"]
    patient = arguments | ({"read_timeout": _CHANGE_SECONDS} if "read_timeout" in arguments else {})
    engine = create_engine(url, **options | {"connect_args": patient})
    try:
        with engine.connect() as connection:
            # Optuna makes its tables as if nobody else could be making them.
            kind = url.get_backend_name()
            if kind == "postgresql":
                connection.execute(select(func.pg_advisory_xact_lock(_number("sasrecf_tune"))))
            elif kind == "mysql":
                wait_for_turn(connection, url.database or "")
            opened = RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
            if kind == "mysql":
                complete_tables(connection)
    finally:
        engine.dispose()
    _prepare(opened.engine)
    return opened


def reach(address: str) -> None:
    """Connect, and do nothing.

    Raises:
        ImportError: as `open_server`.
        Exception: as `open_server`.
    """
    url, options = _connecting(address)
    engine = create_engine(url, **options)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _connecting(address: str) -> tuple[URL, dict[str, Any]]:
    url = with_driver(make_url(address))
    arguments = _DRIVERS.get(url.get_driver_name(), {})
    return url, {
        "connect_args": {key: value for key, value in arguments.items() if key not in url.query},
        # Whoever holds the study must see all that was written before it did.
        "isolation_level": "READ COMMITTED",
    }


def with_driver(url: URL) -> URL:
    """The address with the driver that the package's extras install, unless it names one."""
    dialect, _, driver = url.drivername.partition("+")
    dialect = _SAME.get(dialect, dialect)
    driver = driver or _OURS.get(dialect, "")
    return url.set(drivername=f"{dialect}+{driver}" if driver else dialect)


def how_to_get_driver(address: str) -> str:
    """What to do where the address's driver is not installed."""
    url = with_driver(make_url(address))
    kind = url.get_backend_name()
    command = f"where this package was installed from: {install_command(extra=kind)}"
    if url.get_driver_name() == _OURS.get(kind):
        return f"Install it {command}"
    return f"Install it; or write {kind}://..., and install the driver for that {command}"


def _prepare(engine: Engine) -> None:
    """Have all connections, from now on, let go of the study in time."""
    engine.dispose()

    def prepare(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        for statement in _limits(engine.dialect.name):
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    event.listen(engine, "connect", prepare)


def _limits(dialect: str) -> tuple[str, ...]:
    if dialect == "postgresql":
        return (
            f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS}s'",
            f"SET lock_timeout = '{2 * IDLE_SECONDS}s'",
        )
    if dialect == "mysql":
        return (session_limits(IDLE_SECONDS),)
    return ()


def _number(name: str) -> int:
    return int.from_bytes(name.encode()[:7])
