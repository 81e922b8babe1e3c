"""Compare a search with run_hyper.py's policy in wall-clock time: python -m benchmarks.search.search --help.

RecBole's run_hyper.py does not start with current libraries. This tool therefore runs its policy, with
RecBole's own trainer: all configurations in random order, none pruned, ended after 10 trials without a
better result (recbole/trainer/hyper_tuning.py, early_stop=10).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common import start
from sasrecf_tune.errors import WorkerError

_EARLY_STOP = 10

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@dataclass
class SearchResult:
    """What one search found; `best` has (seconds, trial, score) of each new best trial."""

    best: list[tuple[float, int, float]] = field(default_factory=list)
    trials: int = 0
    epochs: int = 0
    seconds: float = 0.0
    worse: int = 0  # trials since the best one

    def time_to(self, score: float) -> float | None:
        """Return the seconds until a trial had ended with `score` or more."""
        return next((seconds for seconds, _, found in self.best if found >= score), None)

    def to_json(self) -> dict[str, Any]:
        """Return the result for the JSON."""
        return {
            "trials": self.trials,
            "epochs": self.epochs,
            "seconds": round(self.seconds, 1),
            "best": [[round(seconds, 1), trial, score] for seconds, trial, score in self.best],
        }


def run(options: list[str], early_stop: int | None) -> SearchResult:
    """Run a search and follow its events; the clock starts with the process.

    Raises:
        WorkerError: the search found nothing.
    """
    found = SearchResult()
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as scratch,
        subprocess.Popen(
            [sys.executable, "-m", "sasrecf_tune", "run", "--out", scratch, "--json", *options],
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            found.seconds = time.perf_counter() - started
            if event["event"] != "ended":
                continue
            found.trials += 1
            found.epochs += event["epochs"]
            score = event["score"] if event["state"] == "complete" else None
            print(f"{found.seconds:.0f} s, trial {event['trial']}: {event['state']} {score}", file=sys.stderr)
            if score is not None and (not found.best or score > found.best[-1][2]):
                found.best.append((found.seconds, event["trial"], score))
                found.worse = 0
            else:
                found.worse += 1
                if early_stop is not None and found.worse >= early_stop:
                    process.kill()
                    break
    if not found.best:
        raise WorkerError("the search found nothing", fix="Its message is above.")
    return found


@app.command()
def main(
    params_file: Annotated[Path, typer.Option(help="A hyper.test.")] = Path("search_spaces/sasrecf.test"),
    dataset: Annotated[str, typer.Option()] = "ml-100k",
    data_path: Annotated[Path | None, typer.Option()] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="RecBole settings.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds of the searches, one pair of searches each.")] = "1",
) -> None:
    """Print how long each policy took to reach the worse of the two final scores, and the ratio."""
    options = ["--params-file", str(params_file), "--dataset", dataset]
    options += ["--data-path", str(data_path)] if data_path else []
    options += [part for setting in set_ or [] for part in ("--set", setting)]
    results = []
    for seed in seeds.split(","):
        theirs = run(
            [*options, "--seed", seed, "--engine", "recbole", "--sampler", "grid", "--pruner", "none"],
            _EARLY_STOP,
        )
        ours = run([*options, "--seed", seed, "--trials", str(max(theirs.trials, 20))], None)
        score = min(theirs.best[-1][2], ours.best[-1][2])
        waited, took = theirs.time_to(score), ours.time_to(score)
        assert waited is not None and took is not None, "both ended with this score or a better one"
        results.append(
            {
                "seed": int(seed),
                "score": score,
                "seconds_to_score": {"run_hyper": round(waited, 1), "sasrecf_tune": round(took, 1)},
                "ratio": round(waited / took, 2),
                "run_hyper": theirs.to_json(),
                "sasrecf_tune": ours.to_json(),
            }
        )
    print(json.dumps({"params_file": params_file.name, "settings": set_ or [], "results": results}, indent=2))


if __name__ == "__main__":
    start(app)
