"""Private names of Optuna: they exist and work as relied on, and only one module uses them."""

from __future__ import annotations

import ast
import inspect
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import CmaEsSampler
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.orm import Session

from sasrecf_tune.storage.database import cached_storage, shared_storage
from sasrecf_tune.storage.database import optuna_internals as internals
from sasrecf_tune.storage.database.cached_storage import WriteThroughStorage
from tests.support.paths import ROOT

PACKAGE = ROOT / "sasrecf_tune"
HOME = Path(inspect.getfile(internals))
DISTRIBUTION = FloatDistribution(0.0, 1.0)


@pytest.fixture
def storage(tmp_path: Path) -> RDBStorage:
    """A database with two studies; the second one has three trials."""
    made = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    optuna.create_study(storage=made, study_name="other").ask()
    study = optuna.create_study(storage=made, study_name="study", direction="maximize")
    for number in range(3):
        study.ask({"rate": DISTRIBUTION}).report(0.5, number)
    return made


@pytest.fixture
def study_id(storage: RDBStorage) -> int:
    return storage.get_study_id_from_name("study")


def test_names_that_are_used_exist() -> None:
    memory = InMemoryStorage()
    memory.create_new_study([StudyDirection.MAXIMIZE], "study")
    assert memory._studies[internals.STUDY_ID].trials == []
    for method in ("_set_trial", "_update_cache"):
        assert callable(getattr(memory, method))
    read = inspect.signature(RDBStorage._get_trials).parameters
    assert list(read) == ["self", "study_id", "states", "included_trial_ids", "trial_id_greater_than"]
    assert "_trial_id" in vars(optuna.trial.create_trial(value=1.0))


def test_the_tables_are_those_that_are_queried() -> None:
    columns = {name: set(table.columns.keys()) for name, table in internals.TABLES.items()}
    assert columns["studies"] >= {"study_id"}
    assert columns["trials"] >= {"trial_id", "study_id", "state"}
    assert columns["study_system_attributes"] >= {"study_id", "key", "value_json"}
    assert columns["trial_system_attributes"] >= {"trial_id", "key", "value_json"}
    stored = {"trial_id", "step", "intermediate_value", "intermediate_value_type"}
    assert columns["trial_intermediate_values"] >= stored
    assert internals.StudyAttribute.__tablename__ == "study_system_attributes"


def test_no_name_of_ours_hides_one_of_optunas() -> None:
    theirs = {*dir(InMemoryStorage), *vars(InMemoryStorage())}
    for module in (internals, cached_storage, shared_storage):
        hidden = own_names(ast.parse(inspect.getsource(module))) & theirs
        assert all(name == "__init__" or hasattr(BaseStorage, name) for name in hidden), module


def loaded(storage: RDBStorage, study_id: int) -> internals.MemoryStorage:
    memory = internals.MemoryStorage()
    memory.load(
        "study",
        storage.get_study_directions(study_id),
        {"a": 1},
        {"b": 2},
        storage.get_all_trials(study_id, deepcopy=False),
    )
    return memory


def test_a_memory_storage_holds_one_study(storage: RDBStorage, study_id: int) -> None:
    memory = loaded(storage, study_id)
    study = optuna.load_study(study_name="study", storage=memory)
    assert memory.get_study_id_from_name("study") == internals.STUDY_ID
    assert (study.user_attrs, memory.get_study_system_attrs(0), study.direction.name) == (
        {"a": 1},
        {"b": 2},
        "MAXIMIZE",
    )
    assert [internals.storage_id(trial) for trial in study.trials] == [0, 1, 2]
    assert study.ask().number == 3 and internals.storage_id(memory.trials()[3]) == 3


def test_a_trial_can_be_replaced_and_appended(storage: RDBStorage, study_id: int) -> None:
    memory = loaded(storage, study_id)
    for number, value in ((1, 0.7), (3, 0.9)):
        ended = optuna.trial.create_trial(value=value)
        ended.number = number
        memory.put(ended)
        assert memory.get_best_trial(0).number == number and memory.get_trial(number).value == value
    assert [trial.number for trial in memory.trials()] == [0, 1, 2, 3]
    assert [internals.storage_id(trial) for trial in memory.trials()] == [0, 1, 2, 3]


def test_a_trial_that_was_put_back_is_found_waiting(storage: RDBStorage, study_id: int) -> None:
    memory = loaded(storage, study_id)
    waiting = (TrialState.WAITING,)
    assert memory.get_all_trials(0, states=waiting) == []
    memory.set_trial_state_values(0, TrialState.WAITING)
    assert [trial.number for trial in memory.get_all_trials(0, states=waiting)] == [0]


def test_changed_and_new_trials_are_read(storage: RDBStorage, study_id: int) -> None:
    ids = [internals.storage_id(trial) for trial in storage.get_all_trials(study_id)]

    def numbers(trials: list[FrozenTrial]) -> list[int]:
        return [trial.number for trial in trials]

    assert numbers(internals.read_trials(storage, study_id, {ids[0]}, ids[1])) == [0, 2]
    assert numbers(internals.read_trials(storage, study_id, set(), ids[-1])) == []
    assert numbers(internals.read_trials(storage, study_id, set(), -1)) == [0, 1, 2]


def test_states_are_read_in_one_statement(storage: RDBStorage, study_id: int) -> None:
    ids = [internals.storage_id(trial) for trial in storage.get_all_trials(study_id)]
    storage.set_trial_system_attr(ids[2], "owner", "me")
    storage.set_trial_state_values(ids[0], TrialState.FAIL)
    statements: list[str] = []
    event.listen(storage.engine, "before_cursor_execute", lambda *about: statements.append(about[2]))
    with Session(storage.engine) as session:
        states = internals.read_states(session, study_id, {ids[0]}, ids[1], "owner")
    assert states == {ids[0]: (TrialState.FAIL, None), ids[2]: (TrialState.RUNNING, "me")}
    assert len(statements) == 1


def test_intermediate_values_are_stored_as_optuna_stores_them(storage: RDBStorage, study_id: int) -> None:
    trial_id = internals.storage_id(storage.get_all_trials(study_id)[0])
    with Session(storage.engine) as session:
        values = [(trial_id, 0, 9.0), (trial_id, 1, 0.25), (trial_id, 2, float("inf"))]
        internals.add_intermediate_values(session, values)
        session.commit()
    assert storage.get_trial(trial_id).intermediate_values == {0: 0.5, 1: 0.25, 2: float("inf")}


def test_a_study_that_was_deleted_cannot_be_locked(storage: RDBStorage, study_id: int) -> None:
    with Session(storage.engine) as session:
        internals.lock_study(session, study_id)
        with pytest.raises(StorageInternalError, match="deleted"):
            internals.lock_study(session, 99)


def test_a_database_storage_changes_all_through_its_sessions(storage: RDBStorage) -> None:
    memory = WriteThroughStorage(storage, "study")
    commits: list[object] = []
    event.listen(storage.engine, "commit", commits.append)
    with memory.transaction():
        number = memory.create_new_trial(0)
        memory.set_trial_param(number, "rate", 0.5, DISTRIBUTION)
        memory.set_trial_user_attr(number, "a", 1)
        memory.set_trial_system_attr(number, "b", 2)
        memory.set_study_user_attr(0, "a", 1)
        memory.set_study_system_attr(0, "b", 2)
        memory.set_trial_intermediate_value(number, 1, 0.5)
        memory.set_trial_state_values(number, TrialState.COMPLETE, [0.5])
        assert commits == []
    assert len(commits) == 1


# ---- No other module ----


def private_names_of_optuna() -> set[str]:
    """Attributes of Optuna's storages, studies and trials, but not what every Python class has."""
    memory = InMemoryStorage()
    study = optuna.create_study(storage=memory)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    objects = [memory, memory._studies[0], study, study.trials[0], study.ask()]
    names = {name for one in objects for name in (*dir(one), *vars(one))} | set(dir(RDBStorage))
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def uses(tree: ast.AST, names: set[str]) -> list[str]:
    """Private names that a module imports from Optuna, and attributes `names` of anything but itself."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            modules = []
        found += [name for name in modules if name.startswith("optuna") and "._" in name]
        if isinstance(node, ast.Attribute) and node.attr in names:
            found.append(ast.unparse(node))
    return found


def own_names(tree: ast.AST) -> set[str]:
    """Attributes and methods that the module itself defines on its objects."""
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    stored = (node for node in attributes if isinstance(node.ctx, ast.Store))
    return names | {node.attr for node in stored if ast.unparse(node.value) == "self"}


@pytest.mark.parametrize(
    "code",
    [
        "from optuna.storages._rdb import models",
        "import optuna.storages._rdb.models",
        "from optuna.storages import _rdb",
        "trial._trial_id",
        "study._storage.get_all_trials()",
        "self._get_trial(3)",
        "trial._cached_frozen_trial.intermediate_values",
    ],
)
def test_a_private_name_is_found(code: str) -> None:
    assert uses(ast.parse(code), private_names_of_optuna())


def test_private_names_of_optuna_are_in_one_module() -> None:
    names = private_names_of_optuna()
    assert {"_trial_id", "_studies", "_set_trial", "_get_trials", "_cached_frozen_trial"} <= names
    trees = {path: ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}
    inherited = {name for path, tree in trees.items() if path != HOME for name in own_names(tree)}
    assert len(trees) > 100 and uses(trees.pop(HOME), names)
    for path, tree in trees.items():
        found = uses(tree, names - own_names(tree))
        assert not [use for use in found if use.removeprefix("self.") not in inherited], path


class _Bomb:
    """What executes code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch unpickled",)


def cmaes_values(sampler: Callable[[int], CmaEsSampler], trials: int = 40) -> list[dict[str, float]]:
    study = optuna.create_study()
    for number in range(trials):
        study.sampler = sampler(number)
        trial = study.ask({"x": FloatDistribution(-5, 5), "y": FloatDistribution(-5, 5)})
        study.tell(trial, (trial.params["x"] - 2) ** 2 + trial.params["y"] ** 2)
    return [trial.params for trial in study.trials]


def test_cmaes_proposes_what_optunas_proposes() -> None:
    ours = cmaes_values(lambda number: internals.ReplayingCmaEsSampler(seed=number))
    assert ours == cmaes_values(lambda number: CmaEsSampler(seed=number))


def test_cmaes_unpickles_nothing_and_stores_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = optuna.create_study(sampler=internals.ReplayingCmaEsSampler(seed=1))
    bomb = pickle.dumps(_Bomb()).hex()
    for number in range(12):
        trial = study.ask({"x": DISTRIBUTION, "y": DISTRIBUTION})
        study._storage.set_trial_system_attr(trial._trial_id, "cma:optimizer:0", bomb)
        study.tell(trial, float(number))
    assert not Path("unpickled").exists()
    for stored in study.trials:
        assert {key: value for key, value in stored.system_attrs.items() if "optimizer" in key} == {
            "cma:optimizer:0": bomb
        }
