"""When a database that does not answer is tried again, as while its server restarts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError

from sasrecf_tune.inputs.durations import format_duration
from sasrecf_tune.storage.database.errors import driver_message

RETRY_SECONDS = 120.0
_PAUSE_SECONDS = 1.0
# How long an answer is waited for once the run is to stop: a server that hangs neither answers nor fails.
HANG_SECONDS = 10.0
# The server has rolled back a transaction that was in another's way, and will hardly do so again: MySQL's
# number and the SQLSTATE of a deadlock, and the SQLSTATE of a serialization failure.
_DEADLOCKS = {1213, "40P01", "40001"}
_DEADLOCK_RETRIES = 10
# Errors of MySQL and MariaDB that pass (most of theirs are permanent, such as missing rights): too many
# connections, a server that shuts down or is not ready yet, a network failure, a transaction that was rolled
# back, waited for too long or was killed, a server that is read-only for now.
_TRANSIENT = {1020, 1040, 1047, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1290}
_TRANSIENT |= {1317, 1792, 1836, 1927, 1969}


class ReconnectPolicy:
    """Decides whether what has failed is tried again: for RETRY_SECONDS at most, and then never again.

    `final_error` is set when it has given up; `say` tells people.
    """

    def __init__(self) -> None:
        self.say: Callable[[str], None] = lambda _: None
        self.final_error: BaseException | None = None
        self._stop_requested_at: float | None = None
        self._attempt_began_at: float | None = None
        self._retry_until: float | None = None
        self._deadlocks = 0
        self._clock: Callable[[], float] = time.monotonic
        self._pause: Callable[[float], None] = time.sleep

    @property
    def is_disconnected(self) -> bool:
        """Whether the last attempt failed, and none has succeeded since."""
        return self._retry_until is not None or self.final_error is not None

    def stop_retrying(self) -> None:
        """Try once more, and then give up: the run is to stop. For signal handlers."""
        if self._stop_requested_at is None:
            self._stop_requested_at = self._clock()

    def give_up_if_hanging(self) -> bool:
        """Whether the database has not answered for long since `stop_retrying`. For signal handlers.

        Then the caller raises KeyboardInterrupt, on which drivers leave a connection at once; a storage error
        follows, and nothing is tried again.
        """
        began, stop = self._attempt_began_at, self._stop_requested_at
        now = self._clock()
        if began is None or stop is None or now - max(began, stop) < HANG_SECONDS:
            return False
        self._attempt_began_at = now  # leaving the connection may hang too
        self.final_error = self.final_error or SQLAlchemyError("the study's database does not answer")
        return True

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Mark the block as an attempt, which `give_up_if_hanging` can end."""
        self._attempt_began_at = self._clock()
        try:
            yield
        finally:
            self._attempt_began_at = None

    def wait_to_retry(self, error: BaseException) -> bool:
        """Wait a moment and return True; or return False if a retry is useless or time is up."""
        if self.final_error is not None or not _is_transient(error):
            return False
        if _is_deadlock(error) and self._deadlocks < _DEADLOCK_RETRIES:
            self._deadlocks += 1
            return True
        if self._retry_until is None:
            self._retry_until = self._clock() + RETRY_SECONDS
            self.say(
                f"the study's database does not answer ({driver_message(error)}); "
                f"retrying for {format_duration(RETRY_SECONDS)}"
            )
        elif self._stop_requested_at is not None or self._clock() >= self._retry_until:
            if self._stop_requested_at is not None:
                self.say("the study's database does not answer, and the run is stopping: no more retries")
            self.final_error = error
            return False
        self._pause(_PAUSE_SECONDS)
        return True

    def report_success(self) -> None:
        """The attempt has succeeded."""
        self._deadlocks = 0
        if self._retry_until is not None:
            self._retry_until = None
            self.say("the study's database answers again")


def _is_transient(error: BaseException | None) -> bool:
    """Whether the error passes: no connection, a lock that was not released, a deadlock."""
    while error is not None:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        if isinstance(error, OperationalError | InterfaceError | PendingRollbackError):
            code = next(iter(getattr(getattr(error, "orig", None), "args", ())), None)
            # Numbers from 1000 to 1999 are errors of a MySQL or MariaDB server.
            return not (isinstance(code, int) and 1000 <= code < 2000 and code not in _TRANSIENT)
        error = error.__cause__
    return False


def _is_deadlock(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, DBAPIError) and error.orig is not None:
            found = (getattr(error.orig, "sqlstate", None), *error.orig.args[:1])
            return any(code in _DEADLOCKS for code in found if isinstance(code, int | str))
        error = error.__cause__
    return False
