"""A database that is away for a moment, as when its server is started again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError

from sasrecf_tune.inputs.settings import format_duration
from sasrecf_tune.storage.database.errors import driver_message

AWAY_SECONDS = 120.0
_AGAIN_SECONDS = 1.0
# How long an answer is waited for when someone wants an end: where a server hangs, nothing is answered, and
# nothing fails.
HANG_SECONDS = 10.0
# The server has undone a transaction that was in another's way, and will hardly do so again: MySQL's number
# and SQL's name of a deadlock, and SQL's of a serialization failure.
_UNDONE = {1213, "40P01", "40001"}
_UNDONE_TIMES = 10
# What MySQL and MariaDB themselves say, among much that stays as it is, such as rights that are lacking: too
# many connections, a server that ends or is not ready yet, a network that fails, a transaction undone, one
# that waited for too long or was ended, a server that only reads for now.
_PASSING = {1020, 1040, 1047, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1205, 1213, 1290}
_PASSING |= {1317, 1792, 1836, 1927, 1969}


class ReconnectPolicy:
    """Says whether what has failed is to be tried again: for AWAY_SECONDS at most, then nothing any more."""

    def __init__(self, clock: Callable[[], float], pause: Callable[[float], None]) -> None:
        self.say: Callable[[str], None] = lambda _: None
        self.gave_up: BaseException | None = None
        self._hurried: float | None = None  # since when
        self._tried: float | None = None  # since when, while it is tried
        self._undone = 0
        self._clock = clock
        self._pause = pause
        self._until: float | None = None

    @property
    def away(self) -> bool:
        """Whether the database has not answered yet."""
        return self._until is not None or self.gave_up is not None

    def stop_retrying(self) -> None:
        """Someone wants an end: try once more, and then give up. For signal handlers."""
        self._hurried = self._clock() if self._hurried is None else self._hurried

    def hangs(self) -> bool:
        """Whether what is being tried is to be broken off now; it is not tried again. For signal handlers."""
        now = self._clock()
        if (
            self._tried is None
            or self._hurried is None
            or now - max(self._tried, self._hurried) < HANG_SECONDS
        ):
            return False
        self._tried = now  # breaking it off may hang too
        self.gave_up = self.gave_up or SQLAlchemyError("the study's database says nothing")
        return True

    @contextlib.contextmanager
    def trying(self) -> Iterator[None]:
        """Something is tried inside the block."""
        self._tried = self._clock()
        try:
            yield
        finally:
            self._tried = None

    def passes(self, error: BaseException) -> bool:
        """Wait a moment and return True; or False where that is of no use, or has been done for too long."""
        if self.gave_up is not None or not _may_pass(error):
            return False
        if _was_undone(error) and self._undone < _UNDONE_TIMES:
            self._undone += 1
            return True
        if self._until is None:
            self._until = self._clock() + AWAY_SECONDS
            self.say(
                f"the study's database does not answer ({driver_message(error)}); "
                f"trying again for {format_duration(AWAY_SECONDS)}"
            )
        elif self._hurried is not None or self._clock() >= self._until:
            if self._hurried is not None:
                self.say("the study's database is away, and this run is to stop: it waits no longer")
            self.gave_up = error
            return False
        self._pause(_AGAIN_SECONDS)
        return True

    def over(self) -> None:
        """What was tried has succeeded."""
        self._undone = 0
        if self._until is not None:
            self._until = None
            self.say("the study's database answers again")


def _may_pass(error: BaseException | None) -> bool:
    """Whether it is of those that pass: no connection, a lock that was not let go of, a deadlock."""
    while error is not None:
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        if isinstance(error, OperationalError | InterfaceError | PendingRollbackError):
            return not _stays(error)
        error = error.__cause__
    return False


def _stays(error: BaseException) -> bool:
    """Whether it is a refusal of MySQL's or MariaDB's that is the same a minute later."""
    code = next(iter(getattr(getattr(error, "orig", None), "args", ())), None)
    return isinstance(code, int) and 1000 <= code < 2000 and code not in _PASSING


def _was_undone(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, DBAPIError) and error.orig is not None:
            found = (getattr(error.orig, "sqlstate", None), *error.orig.args[:1])
            return any(code in _UNDONE for code in found if isinstance(code, int | str))
        error = error.__cause__
    return False
