"""Checks the address of a database on a server."""

from __future__ import annotations

from sasrecf_tune.errors import InputError
from sasrecf_tune.storage.url_masking import is_masked, mask_address

_EXAMPLES = "Write an address such as postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE."
_KINDS = ("postgresql", "mysql", "mariadb")
_OBSOLETE = {"postgres": "postgresql"}
# Options of the drivers that say where the server is, who logs in, and how the connection is encrypted.
# Others read files and send them, run statements, or load code.
_SHOWN = (
    *("host", "port", "user", "password", "unix_socket", "charset"),
    *("sslmode", "sslrootcert", "sslcert", "sslkey", "ssl_ca", "ssl_cert", "ssl_key", "ssl_mode"),
)
_OPTIONS = {
    *_SHOWN,
    *("hostaddr", "application_name", "target_session_attrs", "collation", "use_unicode"),
    *("connect_timeout", "read_timeout", "write_timeout", "tcp_user_timeout"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    *("sslpassword", "sslcrl", "sslcompression", "sslsni", "sslcertmode", "sslnegotiation"),
    *("channel_binding", "require_auth", "gssencmode"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("ssl", "ssl_capath", "ssl_cipher", "ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"),
    *("ssl_check_hostname", "ssl_key_password"),
}


def check_address(address: str) -> None:
    """Check that the address is that of a database on a supported server.

    Raises:
        InputError: it is not, or it lacks the password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if is_masked(address):
        raise InputError(
            "the password of the study's database is not stored with the study",
            where=mask_address(address),
            fix="Give the address again: --storage URL, or the environment variable SASRECF_TUNE_STORAGE.",
        )
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as error:
        reason = "not a database address"
        if isinstance(error, ValueError):
            reason += ": the port is not a number"
        raise InputError(reason, where="--storage", fix=_EXAMPLES) from None  # its text may have the password
    if "@" in (url.host or "") or "@" in (url.database or ""):
        raise InputError(
            "the user or password in the address contains @",
            where="--storage",
            fix="Write %40 for each @ in them, and %2F for each /.",
        )
    kind = url.get_backend_name()
    if kind == "sqlite":
        raise InputError(
            "SQLite is not a server; without --storage a study is stored in SQLite",
            where="--storage",
            fix="Omit it, and SASRECF_TUNE_STORAGE too: the database is then OUT/STUDY/study.db.",
        )
    if kind in _OBSOLETE:
        raise InputError(
            f"{kind}:// is an obsolete name of {_OBSOLETE[kind]}://",
            where="--storage",
            fix=f"Write {_OBSOLETE[kind]}:// instead; the rest of the address stays.",
        )
    if kind not in _KINDS:
        raise InputError(f"{kind}:// is not a supported database", where="--storage", fix=_EXAMPLES)
    if kind != "postgresql" and not url.database:  # PostgreSQL's default is the user's name
        raise InputError("the address has no database name", where="--storage", fix=_EXAMPLES)
    if refused := [option for option in url.query if option.lower() not in _OPTIONS]:
        raise InputError(
            f"{', '.join(sorted(refused))}: options of a database driver that are not allowed in an address",
            where="--storage",
            fix="Remove them. Allowed are, besides limits of time: " + ", ".join(_SHOWN) + ".",
        )
