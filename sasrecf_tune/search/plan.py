"""The plan of a run: what it will do, decided and shown before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sasrecf_tune.analysis.earlier_work import EarlierWork
from sasrecf_tune.errors import InputError, ParameterError
from sasrecf_tune.executors.allocation import Allocation
from sasrecf_tune.inputs.constraints import Feasibility, feasibility, feasible_cells, resolve, violations
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.literals import Scalar, is_number
from sasrecf_tune.inputs.metrics import VALUE, check_kinds
from sasrecf_tune.inputs.search_space import Choice, Int, Parameter, QUniform, SearchSpace
from sasrecf_tune.inputs.settings import FREEZE_THAW, RunSettings
from sasrecf_tune.inputs.unused_settings import effective, unused_notes
from sasrecf_tune.inputs.value_conversion import convert
from sasrecf_tune.messages import Config, DataSummary
from sasrecf_tune.search.strategies.pruners import PrunerPlan, plan_pruner

# Without --trials, `freeze-thaw` begins up to so many trials; grids get all cells, others DEFAULT_TRIALS.
WHOLE_GRID = 1000
DEFAULT_TRIALS = 100
# The cells of a finite space up to this size are listed in memory.
LISTED_CELLS = 200_000


@dataclass(frozen=True)
class Plan:
    """A run whose settings are valid.

    Args:
        base: The RecBole configuration that all trials share.
        sampler: As of --sampler, but not "auto".
        trials: Of the study, in all runs together.
        notes: What the user should know, one text each.
        allocation: The workers.
        cells: Lists all feasible cells; None if there are more than LISTED_CELLS.
        earlier: What is taken from earlier searches.
    """

    settings: RunSettings
    space: SearchSpace
    base: Config
    feasibility: Feasibility
    sampler: str
    trials: int
    pruner: PrunerPlan
    data: DataSummary
    notes: tuple[str, ...] = ()
    allocation: Allocation = field(default_factory=Allocation)
    cells: Callable[[], Sequence[dict[str, Scalar]]] | None = field(default=None, repr=False)
    earlier: tuple[EarlierWork, ...] = ()

    @property
    def epochs(self) -> int:
        """The largest number of epochs that a trial can have."""
        return max_epochs(self.space, self.data.epochs)

    @property
    def pauses(self) -> bool:
        """Whether trials are paused and continued, rather than pruned."""
        return self.sampler == FREEZE_THAW

    @property
    def fixed(self) -> Config:
        """The settings of config files and --set that decide about results."""
        return decisive_settings(self.settings.base, self.settings.model)

    def config(self, params: dict[str, Any]) -> Config:
        """The RecBole configuration of a trial with `params`."""
        return trial_config(self.base, params, self.settings.seed)

    def start(self) -> dict[str, Any]:
        """RecBole's default of each parameter, or the nearest value of the space."""
        return {parameter.name: _nearest(parameter) for parameter in self.space}

    def feasible(self, labels: dict[str, Scalar]) -> bool:
        """Whether a cell satisfies all constraints."""
        return not violations(resolve(self.base | self.space.decode(labels)))

    def identity(self) -> dict[str, Any]:
        """What makes trials comparable: all trials of a study have one identity."""
        return {
            "model": self.settings.model,
            "dataset": self.settings.dataset,
            "data": self.data.fingerprint,
            "metric": str(self.settings.metric),
            "seed": self.settings.seed,
            "engine": self.settings.engine,
            "space": {parameter.name: parameter.write() for parameter in self.space},
            "config": self.fixed,
        }


def decisive_settings(config: Config, model: str) -> Config:
    """The settings in `config` that decide about the results of `model`, however they are written.

    The path of the data does not: its fingerprint does.
    """
    found = effective(config, model)
    return {key: convert(key, value) for key, value in found.items() if key != "data_path"}


def base_config(settings: RunSettings, space: SearchSpace) -> Config:
    """The RecBole configuration that all trials share: model, data, metrics and fixed keys.

    Raises:
        ConfigFileError: RecBole cannot compute the metrics together.
    """
    metric = settings.metric
    base: Config = {"model": settings.model, "dataset": settings.dataset}
    given = effective(settings.base, settings.model)
    base |= {key: value for key, value in given.items() if key not in space.names}
    base["valid_metric"] = str(metric)
    default_metrics = ["Recall", "MRR", "NDCG", "Hit", "Precision"]  # recbole/properties/overall.yaml
    if metric.name in VALUE:
        default_metrics = [metric.name]
    metrics = base.get("metrics") or default_metrics
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    if metric.name.lower() not in {name.lower() for name in metrics}:
        metrics.append(metric.name)
    check_kinds(metrics, base.get("eval_args") or {})
    topk = base.get("topk") or [10]
    topk = [topk] if isinstance(topk, int) else list(topk)
    if metric.k is not None and metric.k not in topk:
        topk = sorted([*topk, metric.k])
    return base | {"metrics": metrics, "topk": topk}


def trial_config(base: Config, params: dict[str, Any], seed: int) -> Config:
    """The complete configuration of a trial; a searched seed replaces `seed`."""
    return resolve(base | {"seed": seed} | params)


def max_epochs(space: SearchSpace, default: int) -> int:
    """The largest number of epochs of the space, `default` if they are not searched."""
    return largest_value(space, "epochs", default)


def largest_value(space: SearchSpace, name: str, default: int) -> int:
    """The largest value of a parameter of whole numbers, `default` if it is not searched."""
    if name not in space.names:
        return default
    parameter = space[name]
    values = getattr(parameter, "values", None)
    return max(int(value) for value in values) if values else int(getattr(parameter, "high", default))


def smallest_value(space: SearchSpace, base: Config, name: str) -> int:
    """The smallest value of a parameter of whole numbers in the space, else in the configuration."""
    if name in space.names:
        parameter = space[name]
        choices = [int(str(value)) for value in parameter.choices] if isinstance(parameter, Choice) else []
        return min(choices) if isinstance(parameter, Choice) else int(parameter.bounds[0])
    return int(str(base.get(name, TABLE[name].default)))


def first_configuration(space: SearchSpace, base: Config) -> Config:
    """A feasible configuration, to prepare the data with.

    Raises:
        ParameterError: the space has no feasible configuration.
    """
    finite = {p.name: p.values[0] if p.size is not None else p.bounds[0] for p in space}
    if not violations(resolve(base | finite)):
        return resolve(base | finite)
    if space.size is not None:
        for cell in feasible_cells(space, base):
            return resolve(base | cell)
        reasons = "; ".join(reason for reason, _ in feasibility(space, base).reasons)
        raise ParameterError(f"no configuration in {space.source} is feasible: {reasons}", where=space.source)
    return resolve(base | finite)


def _nearest(parameter: Parameter) -> Any:
    default: Any = TABLE[parameter.name].default if parameter.name in TABLE else None
    if isinstance(parameter, Choice):
        if default in parameter.choices:
            # The choice itself: 0 and 0.0 are equal, but only one of them may be a choice.
            return parameter.choices[parameter.choices.index(default)]
        numbers = [value for value in parameter.choices if isinstance(value, int | float)]
        if not is_number(default) or not numbers:
            return parameter.choices[0]
        return min(numbers, key=lambda value: abs(value - default))
    low, high = parameter.bounds
    if not is_number(default):
        return low
    if isinstance(parameter, Int | QUniform):
        # Calculated instead of searched for, since there may be billions of values.
        values = parameter.values
        step = values[1] - low if parameter.size > 1 else 1
        return values[min(max(round((default - low) / step), 0), parameter.size - 1)]
    return min(max(default, low), high)


def feature_lists(space: SearchSpace) -> list[tuple[str, ...]]:
    """The item columns of each value of `selected_features` in the space; none if it is not in the space."""
    if "selected_features" not in space.names:
        return []
    return [tuple(map(str, names)) for names in space["selected_features"].values]  # type: ignore[arg-type]


def searched_features(space: SearchSpace) -> tuple[str, ...]:
    """All item columns that a trial may select."""
    return tuple(dict.fromkeys(name for names in feature_lists(space) for name in names))


@dataclass(frozen=True)
class TrialCount:
    """How many trials a study has, by which sampler; `notes` are for the user."""

    feasibility: Feasibility
    sampler: str
    trials: int
    notes: tuple[str, ...]


def count_trials(settings: RunSettings, space: SearchSpace, base: Config) -> TrialCount:
    """Decide sampler and number of trials.

    Raises:
        InputError: the space has no feasible configuration, or the sampler cannot search it.
    """
    counted = feasibility(space, base)
    if counted.feasible == 0:
        raise ParameterError(
            f"no configuration is feasible: {'; '.join(reason for reason, _ in counted.reasons)}",
            where=space.source,
        )
    wanted = settings.search.trials
    sampler = settings.search.sampler
    finite = counted.feasible
    notes = []
    if sampler == "grid" and finite is None:
        infinite = ", ".join(p.name for p in space if p.size is None)
        raise InputError(
            f"a grid needs a finite space, but the space is infinite ({infinite})",
            where="--sampler grid",
            fix="Give these parameters `choice` or `quniform` values, or use --sampler auto.",
        )
    if sampler == "auto":
        sampler = FREEZE_THAW
    if sampler == "grid" and finite is not None and finite > LISTED_CELLS:
        raise InputError(
            f"a grid of {finite:,} cells is too large", where="--sampler grid", fix="Use --sampler auto."
        )
    usual = {FREEZE_THAW: WHOLE_GRID, "grid": finite or 0}.get(sampler, DEFAULT_TRIALS)
    trials = wanted if wanted is not None else usual
    if finite is not None and trials > finite:
        if wanted is not None:
            notes.append(
                f"--trials {wanted} is more than the {finite} cells of the space; each is tried once"
            )
        trials = finite
    return TrialCount(counted, sampler, trials, tuple(notes))


def make_plan(
    settings: RunSettings,
    space: SearchSpace,
    base: Config,
    data: DataSummary,
    allocation: Allocation | None = None,
) -> Plan:
    """Decide sampler, pruner and number of trials.

    Raises:
        InputError: the space has no feasible configuration, or the sampler cannot search it.
    """
    count, allocation = count_trials(settings, space, base), allocation or Allocation()
    notes = [
        *space.notes,
        *data.notes,
        *unused_notes(settings.base, settings.model),
        *count.notes,
        *allocation.notes,
    ]
    if allocation.gpu and data.device == "cpu":
        notes.append(
            "this machine has a GPU that torch cannot use: `sasrecf-tune doctor` says why; "
            "with --gpus none there is a worker for each core"
        )
    cells = None
    if count.feasibility.feasible is not None and count.feasibility.feasible <= LISTED_CELLS:
        cells = _Cells(space, base)
    return Plan(
        settings,
        space,
        base,
        count.feasibility,
        count.sampler,
        count.trials,
        plan_pruner(settings.search.pruner, max_epochs(space, data.epochs), count.sampler),
        data,
        tuple(notes),
        allocation,
        cells,
    )


def with_device_note(plan: Plan, earlier: Sequence[str]) -> Plan:
    """Add a note if trials of the study were trained on `earlier` devices that are of another kind."""
    others = [name for name in earlier if name != plan.data.device]
    if not others:
        return plan
    note = (
        f"earlier trials were trained on {' and '.join(others)}, those of this run on {plan.data.device}: "
        "dropout draws other random numbers there, so the same configuration has another score"
    )
    return replace(plan, notes=(*plan.notes, note))


class _Cells:
    """Lists all feasible cells, as Optuna stores them; cached."""

    def __init__(self, space: SearchSpace, base: Config) -> None:
        self._space, self._base = space, base
        self._cells: list[dict[str, Scalar]] | None = None

    def __call__(self) -> list[dict[str, Scalar]]:
        if self._cells is None:
            self._cells = [self._space.encode(cell) for cell in feasible_cells(self._space, self._base)]
        return self._cells
