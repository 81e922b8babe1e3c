"""Check the engine on a GPU: is it right, where does it wait, what does a step cost?

python -m benchmarks.gpu_checks --help
"""

from __future__ import annotations

import json
import os
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

import typer

from benchmarks.common import JsonFile, MarkdownFile, print_progress, start, write_output
from benchmarks.engine.datasets import ML_100K, choose_features, find_datasets, training_config
from benchmarks.gpu import describe_machine

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

_NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


@dataclass(frozen=True)
class Finding:
    """What a check found; `fine` is None for a measurement."""

    check: str
    fine: bool | None
    facts: dict[str, Any]


class Batches:
    """The first batches of a loader, for any number of epochs."""

    def __init__(self, loader: Any, steps: int) -> None:
        self._dataset = loader._dataset
        self._batches = [batch for _, batch in zip(range(steps), loader, strict=False)]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._batches)


class Checks:
    """The checks of one configuration on one device."""

    def __init__(self, config: dict[str, Any], device: str, steps: int, fused: int) -> None:
        import torch

        if device == "cuda":
            # RecBole's Config writes CUDA_VISIBLE_DEVICES, which counts only until CUDA has begun.
            torch.cuda.init()  # type: ignore[no-untyped-call]
            torch.cuda.device_count()
        self._config, self._device, self._steps, self._fused = config, device, steps, fused
        self._gpu = "0" if device == "cuda" else ""
        self._prepared: dict[str, Any] = {}

    def all(self) -> dict[str, Callable[[], Finding]]:
        """Return the checks in the order of their weight."""
        return {
            "loss and gradients": self.agreement,
            "the same bits twice": self.bits,
            "fused = alone": self.together,
            "waits": self.waits,
            "an epoch's step": self.step,
            "an epoch's step, fused": self.fused_step,
        }

    def agreement(self) -> Finding:
        """Compare the loss and the gradients with the CPU's and with RecBole's, from the same weights."""
        from sasrecf_tune.engine.recbole import RECBOLE_ENGINE

        cpu, here = self._build("", **_NO_DROPOUT), self._build(self._gpu, **_NO_DROPOUT)
        stock = self._build(self._gpu, RECBOLE_ENGINE, **_NO_DROPOUT)
        weights = cpu.trainer.model.state_dict()
        for built in (here, stock):
            built.trainer.model.load_state_dict(weights)
        found = [self._gradients(built) for built in (cpu, here, stock)]
        off = {
            name: max(
                float((gradient - other[key]).norm() / gradient.norm().clamp_min(1e-12))
                for key, gradient in found[1][1].items()
                # The bias of keys has no effect: its gradients are rounding errors.
                if ".key.bias" not in key and gradient.norm() > 1e-7
            )
            for name, (_, other) in (("CPU", found[0]), ("RecBole", found[2]))
        }
        losses = {
            name: abs(loss / found[1][0] - 1)
            for name, (loss, _) in (("CPU", found[0]), ("RecBole", found[2]))
        }
        fine = max(losses.values()) < 1e-5 and max(off.values()) < 1e-3
        return Finding("loss and gradients", fine, {"loss off": losses, "gradients off": off})

    def bits(self) -> Finding:
        """Train the same trial twice, with dropout."""
        import torch

        def once() -> tuple[list[float], list[Any]]:
            built = self._build(self._gpu)
            batches = Batches(built.train, self._steps)
            losses = [built.trainer._train_epoch(batches, epoch) for epoch in range(2)]
            return losses, [weight.detach().cpu() for weight in built.trainer.model.parameters()]

        (first, ours), (second, theirs) = once(), once()
        same = first == second and all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
        return Finding("the same bits twice", same, {"losses": first})

    def together(self) -> Finding:
        """Train three trials alone and as one model, with dropout."""
        made = self._trials(3)
        alone = [one.trainer._train_epoch(Batches(one.train, self._steps), 0) for one in made]
        fused = self._fused_trainer(3).train_epoch()
        off = max(abs(a / b - 1) for a, b in zip(alone, fused, strict=True))
        return Finding("fused = alone", off < 1e-5, {"losses off": off})

    def waits(self) -> Finding:
        """Count where an epoch waits for the GPU, as torch sees it: once, for its losses."""
        import torch

        if self._device != "cuda":
            return Finding("waits", None, {"waits": "no GPU"})
        # Whole epochs: the batches of a list take another way than those of a loader.
        built, fused = self._build(self._gpu), self._fused_trainer(2, whole=True)
        seen: dict[str, Counter[str]] = {}
        for name, work in (
            ("alone", lambda: built.trainer._train_epoch(built.train, 0)),
            ("fused", fused.train_epoch),
        ):
            work()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    work()
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            places = [f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchroniz" in str(w.message)]
            seen[name] = Counter(places)
        fine = all(counts.total() <= 1 for counts in seen.values())
        return Finding("waits", fine, {name: dict(counts) for name, counts in seen.items()})

    def step(self) -> Finding:
        """Measure a step of one trial, with drawing its batch."""
        built = self._build(self._gpu)
        return self._measured("an epoch's step", lambda: built.trainer._train_epoch(built.train, 0), built)

    def fused_step(self) -> Finding:
        """Measure a step of several trials as one model."""
        trainer = self._fused_trainer(self._fused, whole=True)
        built = self._build(self._gpu)
        return self._measured(f"an epoch's step, {self._fused} fused", trainer.train_epoch, built)

    def _measured(self, name: str, epoch: Callable[[], object], built: Any) -> Finding:
        import torch

        steps, wall, host = len(built.train), [], []
        if self._device == "cuda":
            torch.cuda.reset_peak_memory_stats()  # of RecBole's step and other checks
        for _ in range(3):
            began, cpu = time.perf_counter(), time.process_time()
            epoch()
            if self._device == "cuda":
                torch.cuda.synchronize()
            wall.append((time.perf_counter() - began) / steps * 1e3)
            host.append((time.process_time() - cpu) / steps * 1e3)
        facts: dict[str, Any] = {"ms": round(median(wall), 3), "ms of the host": round(median(host), 3)}
        if self._device == "cuda":
            from torch.profiler import ProfilerActivity, profile

            with profile(activities=[ProfilerActivity.CUDA]) as recorded:
                epoch()
            rows = [row for row in recorded.key_averages() if row.self_device_time_total > 0]
            facts["kernels"] = round(sum(row.count for row in rows) / steps)
            facts["ms of the GPU"] = round(sum(row.self_device_time_total for row in rows) / steps / 1e3, 3)
            facts["peak GiB"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
        return Finding(name, None, facts)

    def _build(self, gpu: str, engine: Any = None, **changes: Any) -> Any:
        from sasrecf_tune.engine.fast.build import FAST
        from sasrecf_tune.engine.recbole import build, make_config, prepare

        engine = engine or FAST
        config = make_config(self._config | changes, gpu)
        if self._device == "cuda":
            os.environ["CUDA_VISIBLE_DEVICES"] = "0"
        if engine.name not in self._prepared:
            self._prepared[engine.name] = prepare(config, engine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build(config, self._prepared[engine.name], engine)

    def _trials(self, count: int) -> list[Any]:
        own = ({"learning_rate": 0.001 / (1 + number), "seed": 2020 + number} for number in range(count))
        return [self._build(self._gpu, **one) for one in own]

    def _fused_trainer(self, count: int, whole: bool = False) -> Any:
        from sasrecf_tune.engine.fused.trainer import EpochRequest, FusedTrainer
        from sasrecf_tune.engine.rng import TrialRng

        return FusedTrainer(
            [
                EpochRequest(
                    one.trainer,
                    one.train if whole else Batches(one.train, self._steps),
                    TrialRng(one.trainer.device),
                )
                for one in self._trials(count)
            ]
        )

    def _gradients(self, built: Any) -> tuple[float, dict[str, Any]]:
        import torch

        model, batch = built.trainer.model, next(iter(built.train))
        model.train()
        if hasattr(model, "backward_loss"):
            loss = model.backward_loss(batch)
        else:
            loss = model.calculate_loss(batch.to(built.trainer.device))
            loss.backward()
        found = {
            name: torch.zeros_like(weight) if weight.grad is None else weight.grad
            for name, weight in model.named_parameters()
        }
        return float(loss.detach()), {
            name: gradient.detach().cpu().double() for name, gradient in found.items()
        }


def markdown_table(machine: dict[str, Any], findings: Sequence[Finding]) -> str:
    """Return the findings as a table in Markdown, below the GPU's name."""
    names = {"gpu": machine["gpu"], "driver": machine["driver"], "torch": machine["torch"]}
    lines = [", ".join(f"{name} {value}" for name, value in names.items() if value), ""]
    lines += ["| check | result | details |", "| --- | --- | --- |"]
    words = {True: "right", False: "WRONG", None: ""}
    lines += [f"| {each.check} | {words[each.fine]} | {json.dumps(each.facts)} |" for each in findings]
    return "\n".join(lines) + "\n"


@app.command()
def main(
    device: Annotated[Literal["cuda", "cpu"], typer.Option(help="cpu tests the script.")] = "cuda",
    data: Annotated[str, typer.Option(metavar="DIR", help="ml-100k, or a data set's directory.")] = ML_100K,
    layers: Annotated[int, typer.Option(min=1, help="Layers of the model.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of a check.")] = 4,
    fused: Annotated[int, typer.Option(min=2, help="Trials that are measured as one model.")] = 16,
    seconds: Annotated[int, typer.Option(min=1, help="No check but the first starts later than this.")] = 400,
    set_: Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="A RecBole setting.")] = [],  # noqa: B006
    json_file: JsonFile = None,
    markdown: MarkdownFile = None,
) -> None:
    """Check and measure the engine on a GPU; print a table under its name.

    The exit code is 1 where a check finds something wrong, and 2 where torch sees no CUDA GPU.
    """
    began = time.monotonic()
    machine = describe_machine(device)
    one = find_datasets(data)[0]
    config = training_config(one, choose_features([one], [])[0], layers, set_)
    findings: list[Finding] = []
    for name, check in Checks(config, device, steps, fused).all().items():
        if findings and time.monotonic() - began > seconds:
            print_progress(f"{name}: no time is left")
            continue
        print_progress(name)
        try:
            findings.append(check())
        except Exception as error:  # noqa: BLE001  # the other checks still tell something
            findings.append(Finding(name, False, {"error": f"{type(error).__name__}: {error}"[:300]}))
    report = machine | {"data": one.name, "layers": layers, "checks": [vars(each) for each in findings]}
    write_output(json.dumps(report, indent=1) + "\n", json_file)
    write_output(markdown_table(machine, findings), markdown)
    if any(each.fine is False for each in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    start(app)
