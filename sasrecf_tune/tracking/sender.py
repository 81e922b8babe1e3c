"""Keeps one tracker up to date, in a thread: a slow or unreachable tracker does not delay the search."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from sasrecf_tune.storage.directory import relative
from sasrecf_tune.tracking.logged_states import LoggedStates
from sasrecf_tune.tracking.run_logs import StudyLog, Tracker, TrialLog

# Between two passes over what has changed: a trial may have many epochs a second.
_PASS_SECONDS = 1.0
# After a failure, doubled at each further one.
_RETRY_SECONDS = 5.0
_MOST_RETRY_SECONDS = 120.0
# Characters of a reason: libraries tell long stories.
_LONGEST_REASON = 200


class Sender:
    """Sends the newest state of each trial that has changed, and of the study.

    Args:
        tracker: Is used by the thread alone, and made by it: to import its library takes seconds.
        logged: Remembers what trackers have.

    Attributes:
        name: The tracker's name.
    """

    def __init__(
        self,
        name: str,
        tracker: Callable[[], Tracker],
        logged: LoggedStates,
        pass_seconds: float = _PASS_SECONDS,
        retry_seconds: float = _RETRY_SECONDS,
    ) -> None:
        self.name = name
        self._make = tracker
        self._tracker: Tracker | None = None
        self._logged = logged
        self._pass_seconds = pass_seconds
        self._retry_seconds = retry_seconds
        self._changed = threading.Condition()
        self._trials: dict[int, TrialLog] = {}
        self._study: StudyLog | None = None
        self._messages: deque[str] = deque()
        self._failing = self._ending = False
        # A daemon: a request that hangs must not keep the program from ending.
        self._thread = threading.Thread(target=self._run, name=f"log-{name}", daemon=True)
        self._thread.start()

    def post(self, log: TrialLog) -> None:
        """Send this state of a trial, and not the earlier ones that were not sent yet."""
        with self._changed:
            self._trials[log.number] = log
            self._changed.notify()

    def post_if_idle(self, log: TrialLog) -> None:
        """Send this state of a trial, unless a newer one waits or the tracker has it."""
        with self._changed:
            self._trials.setdefault(log.number, log)
            self._changed.notify()

    def post_study(self, log: StudyLog) -> None:
        """Send this state of the study, after those of the trials."""
        with self._changed:
            self._study = log
            self._changed.notify()

    def drop(self, number: int) -> None:
        """Send nothing more of a trial, which belongs to another run now."""
        with self._changed:
            self._trials.pop(number, None)

    def take_messages(self) -> list[str]:
        """What the user is to be told since the last call."""
        return [self._messages.popleft() for _ in range(len(self._messages))]

    def close(self, seconds: float) -> list[str]:
        """Send what is left, for at most so many seconds, and end; names what could not be sent."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join(seconds)
        with self._changed:
            return [f"trial {number}" for number in sorted(self._trials)] + ["the summary"] * (
                self._study is not None
            )

    def _run(self) -> None:
        wait = self._retry_seconds
        while True:
            with self._changed:
                while not (self._trials or self._study or self._ending):
                    self._changed.wait()
                last = self._ending  # there is one more attempt, however it goes
            try:
                self._send(last)
            except Exception as error:  # noqa: BLE001  # libraries raise anything; the search goes on
                self._fail(error)
                pause, wait = wait, min(2 * wait, _MOST_RETRY_SECONDS)
            else:
                self._recover()
                pause, wait = self._pass_seconds, self._retry_seconds
            if last:
                break
            self._pause(pause)
        self._close_tracker()

    def _send(self, last: bool) -> None:
        """Send all that waits.

        Args:
            last: A trial that is refused does not hold up the others and the study.
        """
        if self._tracker is None:
            self._tracker = self._make()
        tracker = self._tracker
        refused: dict[int, Exception] = {}
        while (log := self._next_trial()) is not None and log.number not in refused:
            try:
                self._send_trial(tracker, log)
            except Exception as error:
                if not last:
                    raise
                refused[log.number] = error
                self._send_study(tracker)  # which fails if nothing at all can be sent
        self._send_study(tracker)
        if refused:
            raise next(iter(refused.values()))

    def _send_trial(self, tracker: Tracker, log: TrialLog) -> None:
        if not (log.settled and self._logged.has(self.name, tracker.place, log)):
            tracker.write_trial(log)
        if log.settled:
            self._logged.add(self.name, tracker.place, log)
        self._done(log)

    def _send_study(self, tracker: Tracker) -> None:
        study = self._study
        if study is not None:
            tracker.write_study(study)
            with self._changed:
                self._study = None if self._study is study else self._study

    def _next_trial(self) -> TrialLog | None:
        """The trial that waits longest; one that cannot be written does not hold up the others."""
        with self._changed:
            if not self._trials:
                return None
            number, log = next(iter(self._trials.items()))
            del self._trials[number]
            self._trials[number] = log
            return log

    def _done(self, log: TrialLog) -> None:
        with self._changed:
            if self._trials.get(log.number) is log:
                del self._trials[log.number]

    def _fail(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            self._messages.append(
                f"cannot log to {self.name}: {_reason(error)}; the search goes on, and what is missing is "
                "sent later"
            )

    def _recover(self) -> None:
        if self._failing:
            self._failing = False
            self._messages.append(f"{self.name} works again: what was missing is there now")

    def _close_tracker(self) -> None:
        if self._tracker is not None:
            try:
                self._tracker.close()
            except Exception as error:  # noqa: BLE001  # as above
                self._fail(error)

    def _pause(self, seconds: float) -> None:
        """Wait, less if it is to end."""
        until = time.monotonic() + seconds
        with self._changed:
            while not self._ending and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)


def _reason(error: Exception) -> str:
    """One line for users about an error of a library."""
    disk = (error.strerror or "") if isinstance(error, OSError) else ""
    if disk and isinstance(error, OSError) and error.filename:
        disk = f"{relative(Path(os.fsdecode(error.filename)))}: {disk}"
    text = " ".join((disk or str(error)).split()) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."
