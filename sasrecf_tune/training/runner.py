"""One trial, start to end: a pure function of configuration, data and engine."""

from __future__ import annotations

import logging
import os
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sasrecf_tune.engine.recbole import (
    RECBOLE_ENGINE,
    Built,
    Engine,
    Prepared,
    build,
    check_files,
    data_directory,
    log_to_stderr,
    make_config,
    prepare,
)
from sasrecf_tune.errors import InputError, TuneError
from sasrecf_tune.executors import pausable
from sasrecf_tune.inputs.dataset_files import DatasetFiles, fingerprint
from sasrecf_tune.inputs.dataset_rows import other_items, scan
from sasrecf_tune.inputs.metrics import result_keys
from sasrecf_tune.messages import (
    Config,
    DataSummary,
    Decision,
    Describe,
    Failure,
    FusionTiming,
    Job,
    Measure,
    MeasureFusion,
    Report,
    Result,
    Timing,
    Waiting,
)
from sasrecf_tune.storage.files import disk_error
from sasrecf_tune.training import torch_files
from sasrecf_tune.training.checkpoint import (
    TrialCheckpoint,
    UnusableError,
    capture,
    has_ended,
    identity,
    read,
    restore,
)
from sasrecf_tune.training.failure_reason import failure_kind, failure_reason
from sasrecf_tune.training.prepared_cache import PreparedCache, data_key
from sasrecf_tune.training.shared_cache import SharedData

if TYPE_CHECKING:
    from sasrecf_tune.executors.pausable import PausableThread
    from sasrecf_tune.training.fused_epochs import EpochHook, FusedEpochs

_log = logging.getLogger(__name__)

OnReport = Callable[[Report], Decision]


class _Ended(Exception):  # noqa: N818  # not an error: the coordinator's decision, on its way out of fit()
    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


@dataclass
class _TrialProgress:
    """How far a trial has come: its reports, and since when it runs, earlier attempts counted.

    `anew` is why it could not continue an earlier attempt. Up to `fused` trials trained as one model.
    """

    since: float = field(default_factory=time.perf_counter)
    reports: list[Report] = field(default_factory=list)
    anew: str = ""
    fused: int = 1

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.since


def start_runner(
    gpu: str | None, shared: Path | None = None, tell: Callable[[Waiting], None] = lambda _: None
) -> Runner:
    """The Runner of a worker process, whose standard error is its log."""
    log_to_stderr()
    return Runner(gpu, shared, tell)


class Runner:
    """Answers the coordinator's requests in this process, keeping prepared data between them.

    `gpu` is the index of a CUDA card, "" for the CPU, None for the first card there is. `shared` is a
    directory that this run has made, for the data to be prepared once for all its workers; `tell` hears when
    this one waits for another's preparation.

    Raises:
        InputError: there is no such card.
    """

    def __init__(
        self,
        gpu: str | None = None,
        shared: Path | None = None,
        tell: Callable[[Waiting], None] = lambda _: None,
    ) -> None:
        if gpu and not torch.cuda.is_available():
            raise InputError(
                f"there is no card {gpu} that torch can use",
                where="--gpus",
                fix="Use --gpus none for the CPU.",
            )
        self._gpu = _first_gpu() if gpu is None else gpu
        self._cache: PreparedCache[Prepared] = PreparedCache()
        self._shared: SharedData[Prepared] | None = SharedData(shared, tell) if shared else None
        self._fingerprints: dict[DatasetFiles, str] = {}
        self._lockstep: FusedEpochs | None = None

    def describe(self, request: Describe) -> DataSummary:
        """Prepare the data and say what it holds.

        Raises:
            InputError: the configuration or the data set cannot be used.
        """
        config = make_config(request.config, self._gpu)
        item_columns = check_files(config, request.features)
        notes = scan(data_directory(config), config)
        engine, note = _engine(request.engine, config)
        prepared = self._prepared(config, engine)
        train, valid, test = prepared.splits
        dataset = prepared.dataset
        ranked = frozenset(map(str, dataset.field2id_token[dataset.iid_field][1:]))
        notes += other_items(data_directory(config), config, ranked)
        return DataSummary(
            dataset=str(config["dataset"]),
            users=int(dataset.user_num) - 1,
            items=int(dataset.item_num) - 1,
            interactions=len(train) + len(valid) + len(test) + int(dataset.user_num) - 1,
            train_samples=len(train),
            valid_samples=len(valid),
            test_samples=len(test),
            item_columns=item_columns,
            fingerprint=self._fingerprint(config),
            epochs=int(config["epochs"]),
            metric_keys=result_keys(config["metrics"], config["topk"]),
            device=_device_name(config["device"]),
            threads=torch.get_num_threads(),
            notes=(*notes, note) if note else notes,
        )

    def measure(self, request: Measure) -> Timing:
        """Time some training steps and a validation, and extrapolate to an epoch.

        Raises:
            InputError: as `describe`.
        """
        config = make_config(request.config, self._gpu)
        self._prepared(config, _engine(request.engine, config)[0])  # not of the trial alone
        began = time.perf_counter()
        built, _ = self._build(config, request.engine)
        setup = time.perf_counter() - began
        trainer, batches = built.trainer, iter(built.train)
        steps_per_epoch = len(built.train)
        # The first step pays for allocations; it is not counted unless there is no other.
        first = _timed(lambda: trainer._train_epoch([next(batches)], 0))
        counted = min(request.steps, steps_per_epoch - 1)
        some = [next(batches) for _ in range(counted)]
        seconds = _timed(lambda: trainer._train_epoch(some, 0)) / counted if counted else first
        trainer.eval_collector.data_collect(built.train)
        valid = _timed(lambda: trainer.evaluate(built.valid, load_best_model=False))
        return Timing(seconds * steps_per_epoch, valid, counted or 1, steps_per_epoch, setup)

    def measure_fusion(self, request: MeasureFusion) -> FusionTiming:
        """See `together_timing.measure_fusion`.

        Raises:
            InputError: as `describe`.
        """
        from sasrecf_tune.training.fusion_timing import measure_fusion

        def make() -> Built:
            return self._build(make_config(request.config, self._gpu), request.engine)[0]

        return measure_fusion(make, request)

    def train(self, job: Job, on_report: OnReport) -> Result | Failure:
        """Train the job's configuration; `on_report` decides after each validation.

        Whatever goes wrong becomes a Failure: a trial's error must not end the search.
        """
        course = _TrialProgress()
        try:
            return self._train(job, on_report, course)
        except Exception as error:  # noqa: BLE001  # RecBole and torch raise whatever they stumble on
            traceback.print_exc()  # standard error is the trial's log
            epochs = course.reports[-1].epoch if course.reports else 0
            return Failure(job.number, failure_kind(error), failure_reason(error), epochs, course.seconds)

    def train_epochs(self, paused: Sequence[object]) -> Sequence[object]:
        """What `lanes` whose trials paused with these are to go on with: epochs trained together."""
        from sasrecf_tune.engine.fused.trainer import Ready
        from sasrecf_tune.training.fused_epochs import FusedEpochs

        if self._lockstep is None:
            self._lockstep = FusedEpochs()
        return self._lockstep.train([trial for trial in paused if isinstance(trial, Ready)])

    def _train(self, job: Job, on_report: OnReport, course: _TrialProgress) -> Result:
        config = make_config(job.config | job.here, self._gpu)
        built, note = self._begin(job, config, course)
        trainer, seen = built.trainer, course.reports
        lane = pausable.current()
        turns = _take_turns(built, lane, job.alone) if lane is not None else None
        written = trainer.start_epoch

        def callback(epoch_index: int, score: float) -> None:
            nonlocal written
            report = Report(
                number=job.number,
                epoch=epoch_index + 1,
                score=float(score),
                metrics=dict(trainer.last_valid),
                train_loss=float(trainer.train_loss_dict[epoch_index]),
                seconds=course.seconds,
            )
            seen.append(report)
            course.fused = max(course.fused, turns.most if turns else 1)
            decision = on_report(report if seen[1:] else replace(report, anew=course.anew))
            every = job.checkpoint_every
            due = decision is Decision.CONTINUE and report.epoch - written >= every
            if every and (due or decision is Decision.STOP):
                written = report.epoch
                self._write_unfinished(job, config, built, course)
            if decision is not Decision.CONTINUE:
                raise _Ended(decision)

        decision = Decision.CONTINUE
        try:
            _send_again(seen, on_report)
            if has_ended(trainer):
                trainer.eval_collector.data_collect(built.train)  # as fit() begins
            else:
                trainer.fit(built.train, built.valid, verbose=True, saved=True, callback_fn=callback)
        except _Ended as ended:
            decision = ended.decision
        if not seen:
            raise TuneError("the trial ended without a validation: eval_step or epochs is zero")
        best = next(report for report in seen if report.epoch == trainer.best_epoch)
        test: dict[str, float] = {}
        if decision is Decision.CONTINUE:
            trainer.model.load_state_dict(trainer.best_state)
            # None where the split leaves nothing to test on, as {'LS': 'valid_only'} does.
            result = trainer.evaluate(built.test, load_best_model=False) or {}
            test = {key: float(value) for key, value in result.items()}
            _save(job.checkpoint, job.config, trainer, best)
        return Result(
            number=job.number,
            decision=decision,
            epochs=seen[-1].epoch,
            best_epoch=best.epoch,
            valid=best.metrics,
            test=test,
            curve={key: [report.metrics[key] for report in seen] for key in best.metrics},
            seconds=course.seconds,
            device=_device_name(config["device"]),
            parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
            notes=(note,) if note else (),
            threads=torch.get_num_threads(),
            fused=course.fused,
        )

    def _begin(self, job: Job, config: Any, course: _TrialProgress) -> tuple[Built, str]:
        """What trains the job, as an interrupted attempt left it where there was one; and a note."""
        built, note = self._build(config, job.engine)
        if job.unfinished is None or not job.unfinished.exists():
            return built, note
        try:
            unfinished = read(job.unfinished, self._identity(job, config))
            restore(built, unfinished)
        except UnusableError as error:
            _log.warning(
                "The trial starts anew: %s%s", error, f": {error.__cause__}" if error.__cause__ else ""
            )
            course.anew = str(error)
            return self._build(config, job.engine)
        course.since -= unfinished.seconds
        course.reports += unfinished.reports
        course.fused = unfinished.fused
        _log.info("The trial continues after epoch %d", built.trainer.start_epoch)
        return built, note

    def _write_unfinished(self, job: Job, config: Any, built: Built, course: _TrialProgress) -> None:
        assert job.unfinished is not None, "where there is no file to write, checkpoint_every is 0"
        trial = self._identity(job, config)
        try:
            state = capture(built)
            TrialCheckpoint(trial, course.reports, course.seconds, state, course.fused).write(job.unfinished)
        except OSError as error:
            # The trial itself lacks nothing.
            _log.warning("If the trial is interrupted, its last epochs are lost: %s", error)

    def _identity(self, job: Job, config: Any) -> str:
        engine, _ = _engine(job.engine, config)
        return identity(job.config, engine.name, config["device"], self._fingerprint(config))

    def _fingerprint(self, config: Any) -> str:
        # Once: it reads all of the data.
        directory = data_directory(config)
        if directory not in self._fingerprints:
            self._fingerprints[directory] = fingerprint(directory)
        return self._fingerprints[directory]

    def _prepared(self, config: Any, engine: Engine) -> Prepared:
        key = f"{engine.name} {data_key(dict(config.final_config_dict))}"

        def make() -> Prepared:
            return prepare(config, engine)

        shared = self._shared
        return self._cache.get(key, make if shared is None else lambda: shared.get(key, make))

    def _build(self, config: Any, name: str) -> tuple[Built, str]:
        engine, note = _engine(name, config)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build(config, self._prepared(config, engine), engine), note


def _engine(name: str, config: Any) -> tuple[Engine, str]:
    """The engine called `name`, or RecBole's own and a note why."""
    if name == "recbole":
        return RECBOLE_ENGINE, ""
    from sasrecf_tune.engine.fast.build import FAST, uncovered

    failure_reason = uncovered(config)
    return (
        (RECBOLE_ENGINE, f"trained by RecBole's own trainer: {failure_reason}")
        if failure_reason
        else (FAST, "")
    )


def _take_turns(built: Built, lane: PausableThread[object], alone: bool) -> EpochHook:
    from sasrecf_tune.training.fused_epochs import EpochHook

    return EpochHook(built.trainer, built.train, built.valid, lane.pause, alone)


def _send_again(reports: list[Report], on_report: OnReport) -> None:
    """Report what an interrupted attempt reported: the coordinator may have died before it was on disk.

    Raises:
        _Ended: the coordinator's decision.
    """
    after = reports[-1].epoch if reports else 0
    decisions = [on_report(replace(report, continues_after=after)) for report in reports]
    # Only now: the trial stands after the last of them.
    for decision in decisions:
        if decision is not Decision.CONTINUE:
            raise _Ended(decision)


def _save(path: Path, config: Config, trainer: Any, best: Report) -> None:
    """Plain tensors and values only, so that `torch.load(..., weights_only=True)` takes it.

    Raises:
        StorageError: the disk refused.
    """
    content = {
        "config": config,
        "epoch": best.epoch - 1,  # RecBole counts from 0
        "best_valid_score": best.score,
        "state_dict": trainer.best_state,
    }
    try:
        torch_files.save(path, content)
    except OSError as error:
        raise disk_error(path, error) from error


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _first_gpu() -> str:
    if not torch.cuda.is_available():
        return ""
    return (os.environ.get("CUDA_VISIBLE_DEVICES") or "0").split(",")[0]


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
