"""The engine on a fake GPU, which rejects what a GPU rejects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sasrecf_tune.engine.fast.build import FAST
from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
from sasrecf_tune.engine.recbole import Built, build, make_config, prepare
from sasrecf_tune.engine.rng import TrialRng
from sasrecf_tune.inputs.metrics import WITH_K, WITHOUT_K
from sasrecf_tune.messages import Decision, Describe, Job, Measure, MeasureFusion, Report, Result
from sasrecf_tune.training.runner import Runner
from tests.support.fake_gpu import FakeGpu, fake_gpu
from tests.support.synthetic_data import base, data, muted

__all__ = ["data", "muted"]

BPR = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
SAMPLED = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20", "group_by": "user"}
CASES: list[dict[str, Any]] = [
    {"selected_features": ["colour", "tags", "price"], "pooling_mode": "max", "n_layers": 1},
    BPR | {"learner": "adagrad", "weight_decay": 0.01},
    {"model": "SASRec", "learner": "rmsprop", "clip_grad_norm": {"max_norm": 0.1}},
    {"eval_args": SAMPLED, "hidden_act": "swish"},
    {"metrics": [*WITH_K, *WITHOUT_K]},
]
DROPOUT = {"hidden_dropout_prob": 0.4, "attn_dropout_prob": 0.3}


def job(data: Path, directory: Path, every: int = 0, **changes: Any) -> Job:
    config = base(data) | {"epochs": 3} | changes
    return Job(0, config, "fast", directory / "log", directory / "best.pth", directory / "resume", every)


def ended(job: Job, gpu: str, decide: Callable[[Report], Decision] = lambda _: Decision.CONTINUE) -> Result:
    result = Runner(gpu).train(job, decide)
    assert isinstance(result, Result), result
    return result


def weights(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(job.checkpoint, weights_only=True)["state_dict"]
    return found


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_a_gpu_trains_what_the_cpu_trains(data: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    here, there = (job(data, tmp_path / name, **changes) for name in ("cpu", "gpu"))
    expected = ended(here, "")
    # RecBole draws the initial weights of features on the GPU.
    with fake_gpu(own_generator=False):
        found = ended(there, "0")
    assert found.valid == pytest.approx(expected.valid, abs=1.01e-4) and found.valid
    assert found.test == pytest.approx(expected.test, abs=1.01e-4) and found.test
    for name, weight in weights(here).items():
        assert weights(there)[name].numpy() == pytest.approx(weight.numpy(), abs=1e-3), name


def once_more(report: Report) -> Decision:
    """Stop after each epoch that is trained for the first time."""
    return Decision.CONTINUE if report.continues_after else Decision.STOP


def test_a_trial_that_is_stopped_on_a_gpu_has_the_same_results(data: Path, tmp_path: Path) -> None:
    whole, parts = (job(data, tmp_path / name, 1, **DROPOUT) for name in ("whole", "parts"))
    with fake_gpu() as gpu:
        expected = ended(whole, "0")
        attempts = 0
        while (found := ended(parts, "0", once_more)).decision is Decision.STOP:
            attempts += 1
            gpu.seed(attempts)  # another process would have another state
            torch.manual_seed(attempts)
            assert attempts < 5
    assert attempts > 1 and found.valid == expected.valid and found.test == expected.test
    for name, weight in weights(whole).items():
        assert torch.equal(weights(parts)[name], weight)


def test_a_gpu_is_described_and_measured(data: Path) -> None:
    config = base(data) | DROPOUT
    with fake_gpu():
        runner = Runner("0")
        assert runner.describe(Describe(config, "fast")).device == "fake GPU"
        assert Runner().describe(Describe(config, "fast")).device == "fake GPU"
        assert runner.measure(Measure(config, "fast", 2)).epoch_seconds > 0
        timing = runner.measure_fusion(MeasureFusion(config, "fast", 2, max_trials=2, min_gain=0))
    assert set(timing.ratios) == {2}


class Trials:
    """Trials on the GPU, of one data set."""

    def __init__(self, data: Path, changes: dict[str, Any], own: list[dict[str, Any]]) -> None:
        self.built: list[Built] = []
        self.rng: list[TrialRng] = []
        prepared = None
        for one in own:
            config = make_config(base(data) | changes | one, "0")
            prepared = prepared or prepare(config, FAST)
            self.built.append(build(config, prepared, FAST))
            self.rng.append(TrialRng(config["device"]))

    def alone(self, epochs: int) -> list[list[float]]:
        """The loss of each epoch of each trial."""
        losses = []
        for one, rng in zip(self.built, self.rng, strict=True):
            with rng.active():
                losses.append([one.trainer._train_epoch(one.train, epoch) for epoch in range(epochs)])
        return losses

    def together(self, epochs: int) -> list[list[float]]:
        """As `alone`."""
        pairs = zip(self.built, self.rng, strict=True)
        fused = FusedTrainer([EpochRequest(one.trainer, one.train, rng) for one, rng in pairs])
        return [list(own) for own in zip(*(fused.train_epoch() for _ in range(epochs)), strict=True)]


OWN: list[dict[str, Any]] = [
    {"n_heads": 1, "seed": 1},
    {"n_heads": 2, "learning_rate": 0.01, "learner": "adamw"},
    {"n_heads": 2, "learner": "sgd", "hidden_dropout_prob": 0.0},
]


@pytest.mark.parametrize("changes", [{}, BPR, {"model": "SASRec"}, {"pooling_mode": "max"}], ids=str)
def test_fused_training_on_a_gpu_equals_training_alone(data: Path, changes: dict[str, Any]) -> None:
    with fake_gpu() as gpu:
        alone = Trials(data, DROPOUT | changes, OWN).alone(2)
        waited = waits(gpu)
        together = Trials(data, DROPOUT | changes, OWN).together(2)
        waited_together = waits(gpu)
    assert together == [pytest.approx(losses, rel=1e-5) for losses in alone]
    # Once per epoch for its losses, not in its steps.
    assert waited == len(OWN) * 2 and waited_together == 2


def waits(gpu: FakeGpu) -> int:
    """Return the number of waits since the last call."""
    number = gpu.waited.total()
    gpu.waited.clear()
    return number


def test_a_validation_waits_for_the_gpu_a_few_times_per_batch(data: Path) -> None:
    counts = []
    with fake_gpu() as gpu:
        for users in (30, 1):
            trials = Trials(data, {"eval_batch_size": users}, [{}])
            trials.alone(1)
            waits(gpu)
            built = trials.built[0]
            built.trainer._valid_epoch(built.valid)
            counts.append((len(built.valid), waits(gpu)))
    (one, once), (many, often) = counts
    assert one == 1 < many and often - once <= 4 * (many - one)  # RecBole's collector, and the lengths


def test_the_fake_gpu_rejects_what_a_gpu_rejects() -> None:
    before = torch.cuda.is_available
    with fake_gpu() as gpu:
        there = torch.arange(3.0).to("cuda")
        with pytest.raises(RuntimeError, match="same device"):
            torch.add(there, torch.ones(3))
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        assert there.device.type == "cuda" and (there * 2).device.type == "cuda"
        assert torch.zeros(2, device=there.device).device.type == "cuda"
        assert waits(gpu) == 0
        assert float(there.sum()) == 3.0 and there.cpu().device.type == "cpu"
        assert there[there > 0].tolist() == [1, 2]
    assert torch.cuda.is_available is before
