"""Open studies and inputs that were made to do harm: python -m benchmarks.robustness.hostile --help."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typing_extensions import override

from benchmarks.robustness.harm_watch import Report, Watch
from benchmarks.robustness.hostile_values import ESCAPES, HARD_VALUES, HARD_YAML, ODD
from sasrecf_tune.cli.app import main as main_of_command_line
from tests.support.hostile_files import SCHEMAS, journal_that_names
from tests.support.known_studies import METRICS, NAME, plant
from tests.support.synthetic_data import NAME as DATA
from tests.support.synthetic_data import write_data_set

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

TRIALS = 8
FORMATS = ("table", "csv", "json", "markdown", "latex", "html")
# Output may contain these control characters alone.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class _Terminal(io.StringIO):
    """What a terminal without colours would show."""

    @override
    def isatty(self) -> bool:
        return True


class Attacker:
    """Makes cases in `scratch`, runs commands on them, and counts what they do."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.report = Report()
        self._random = random.Random(seed)
        self._out = scratch / "received"
        self._outside = scratch / "outside"
        self._outside.mkdir()
        self._canary = self._outside / "canary"
        self._canary.write_text("untouched\n")
        self._template = plant(scratch / "template", TRIALS).directory
        (self._template / "logs").mkdir(exist_ok=True)
        (self._template / "trials.csv").write_text("trial\n")
        (self._template / "per-user").mkdir()
        self._per_user = [f"per-user/trial-{number:04}.test.csv" for number in range(TRIALS)]
        for name in self._per_user:
            (self._template / name).write_text(
                f"user,item,history,popularity,rank,{METRICS[0]}\nu,i,1,1,1,1\n"
            )
        self._data = write_data_set(scratch)
        self._watch = Watch(self.report, scratch / "received")
        self.kinds: dict[str, Callable[[], Sequence[list[str]]]] = {
            "database bits": self._bits,
            "database values": self._values,
            "manifest": self._manifest,
            "links": self._links,
            "files": self._files,
            "schemas": self._schemas,
            "addresses": self._addresses,
            "control characters": self._escapes,
            "settings": self._settings,
            "texts": self._texts,
        }

    def run(self, kind: str) -> None:
        """Make and run a case of this kind."""
        self.report.cases[kind] = self.report.cases.get(kind, 0) + 1
        shutil.rmtree(self._out, ignore_errors=True)
        shutil.copytree(self._template.parent, self._out)
        state = self._random.getstate()
        for arguments in self.kinds[kind]():
            found = self._run(arguments)
            if not self._is_untouched():
                self.report.writes_outside += 1
                found.append("the canary was changed")
                shutil.rmtree(self._outside)
                self._outside.mkdir()
                self._canary.write_text("untouched\n")
            if found:
                print(
                    f"{kind}, state {hash(state)}: {arguments}\n" + "\n".join(found),
                    file=sys.stderr,
                    flush=True,
                )

    def _is_untouched(self) -> bool:
        alone = list(self._outside.iterdir()) == [self._canary]
        return alone and self._canary.read_text() == "untouched\n"

    def _run(self, arguments: list[str]) -> list[str]:
        """Run a command; returns what it must not do."""
        output = _Terminal()
        found: list[str] = []
        sys.argv = ["sasrecf-tune", *arguments]
        with self._watch.watching() as events:
            try:
                with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                    main_of_command_line()
            except SystemExit as error:
                if error.code not in (None, 0, 1, 2):
                    self.report.unexpected_exit_codes += 1
                    found.append(f"exit code {error.code}")
            except BaseException as error:  # noqa: BLE001  # any other error is a finding
                self.report.tracebacks += 1
                found += traceback.format_exception(error)[-3:]
        if control := _CONTROL.search(output.getvalue()):
            self.report.control_characters += 1
            at = control.start()
            found.append(f"printed {output.getvalue()[max(0, at - 40) : at + 20]!r}")
        return [*events, *found]

    def _reading(self) -> list[list[str]]:
        form = self._random.choice(FORMATS)
        report = ["report", NAME, "--format", form]
        if form == "html":
            report += ["-o", str(self._out / "page")]
        command = self._random.choice([report, report, ["best", NAME], ["studies"], ["studies", "--json"]])
        return [[*command, "--out", str(self._out)]]

    def _bits(self) -> Sequence[list[str]]:
        path = self._out / NAME / "study.db"
        content = bytearray(path.read_bytes())
        for _ in range(self._random.choice((1, 1, 1, 8, 64))):
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        if self._random.random() < 0.05:
            del content[self._random.randrange(len(content)) :]
        path.write_bytes(content)
        return self._reading()

    def _values(self) -> Sequence[list[str]]:
        with contextlib.closing(sqlite3.connect(self._out / NAME / "study.db")) as database, database:
            columns = [
                (table, column)
                for (table,) in database.execute(
                    "SELECT name FROM sqlite_master WHERE type = 'table'"
                ).fetchall()
                for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall()
                if database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            ]
            table, column = self._random.choice(columns)
            value = self._random.choice(ODD)
            if self._random.random() < 0.7 or not isinstance(value, str | int | float | None):
                with contextlib.suppress(ValueError):
                    value = json.dumps(value)
            rows = [row for (row,) in database.execute(f"SELECT rowid FROM {table}").fetchall()]
            with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                database.execute(
                    f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, self._random.choice(rows))
                )
        return self._reading()

    def _manifest(self) -> Sequence[list[str]]:
        content = self._read_manifest()
        for _ in range(self._random.choice((1, 1, 1, 3))):
            place, key = self._random.choice(list(_places(content)))
            if self._random.random() < 0.2:
                del place[key]
            else:
                place[key] = copy.deepcopy(self._random.choice(ODD))  # it may be changed in turn
        self._write_manifest(content)
        return self._reading()

    def _read_manifest(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self._out / NAME / "manifest.json").read_text())
        return found

    def _write_manifest(self, content: dict[str, Any]) -> None:
        # Ten thousand digits cannot be printed by json.
        text = (
            json.dumps(content, default=str, ensure_ascii=self._random.random() < 0.5)
            if _small(content)
            else "9" * 9999
        )
        (self._out / NAME / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))

    def _links(self) -> Sequence[list[str]]:
        names = [
            "study.lock",
            "logs",
            "logs/worker-0.log",
            "trials.csv",
            "report.html",
            "best.yaml",
            "checkpoints",
            "per-user",
            *self._per_user,
        ]
        path = self._out / NAME / self._random.choice(names)
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        # A FIFO beside the lock is met by a worker, of which this process would count every start.
        if path.name == "study.lock" and self._random.random() < 0.5:
            os.mkfifo(path)
        else:
            path.symlink_to(self._outside if self._random.random() < 0.3 else self._canary)
        delete = ["studies", "--delete", NAME, "--yes"]
        writing = self._random.choice([["resume", NAME], ["confirm", NAME], delete])
        return [*self._reading(), [*writing, "--out", str(self._out)]]

    def _files(self) -> Sequence[list[str]]:
        """A pipe, a link, a huge file or a journal of SQLite in place of a file that is read."""
        names = ["manifest.json", "trials.csv", "report.html", "best.yaml", "trial-0001.pending.json"]
        names += ["study.db", *["study.db-journal"] * 3, "study.db-wal", "study.db-shm"]
        names += self._per_user
        path = self._out / NAME / self._random.choice(names)
        kind = self._random.choice(["pipe", "link", "huge", "journal"])
        if kind in ("pipe", "link"):
            path.unlink(missing_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(self._random.choice([self._canary, Path(os.devnull), self._outside / "none"]))
        elif path.name == "study.db-journal":
            whole = journal_that_names(self._canary, self._out / NAME / "study.db")
            path.write_bytes(whole[: self._random.choice([len(whole), len(whole), 512, 4620])])
        else:
            with path.open("ab") as file:
                file.truncate(1 << 36)  # takes no space
        page = ["report", NAME, "--format", "html", "--out", str(self._out)]
        users = ["report", NAME, "--per-user", str(self._out / "users.csv"), "--out", str(self._out)]
        return [*self._reading(), page, users, ["studies", "--out", str(self._out)]]

    def _schemas(self) -> Sequence[list[str]]:
        """A database that computes something when it is read or written."""
        with contextlib.closing(sqlite3.connect(self._out / NAME / "study.db")) as database:
            database.executescript(self._random.choice(list(SCHEMAS.values())))
        writing = ["studies", "--delete", NAME, "--yes"]
        return [*self._reading(), [*writing, "--out", str(self._out)]]

    def _addresses(self) -> Sequence[list[str]]:
        content = self._read_manifest()
        host = f"127.0.0.1:{self._watch.port}"
        address = self._random.choice(
            [
                f"postgresql://user@{host}/db",
                f"mysql://user@{host}/db?local_infile=1",
                f"mysql+pymysql://{host}/db?read_default_file=/etc/passwd",
                f"postgresql+psycopg://{host}/db?passfile=/etc/passwd",
                f"ray://{host}",
                f"http://{host}/",
                f"sqlite:///{self._canary}",
                f"file://{self._canary}",
            ]
        )
        command = self._random.choice(["report", "best", "resume", "confirm", "reproduce", "compare"])
        keys = self._random.choice([("storage",), ("address",), ("storage", "address", "data_path")])
        if command == "reproduce":  # it trains on this machine wherever the study was
            keys = ("storage",)
        for key in keys:
            content[key] = address
        if keys == ("address",) or self._random.random() < 0.3:
            content |= {"executor": "ray", "workers": 1}
        self._write_manifest(content)
        out = ["--out", str(self._out)]
        return [[command, NAME, *((NAME,) if command == "compare" else ()), *out]]

    def _escapes(self) -> Sequence[list[str]]:
        text = self._random.choice(ESCAPES)
        params, config = self._out / "hyper.test", self._out / "config.yaml"
        name = self._random.choice(["learning_rate", f"learning{text}rate", f"{text}"])
        params.write_text(f"{name} choice [0.1, '{text}']\n{text} choice [1]\n", errors="replace")
        config.write_text(json.dumps({f"key{text}": text, f"epochs{text}": 1, "epochs": text}))
        given = [
            str(params),
            "--config-files",
            str(config),
            "--set",
            f"hidden_act={text}",
            "--dataset",
            f"data{text}",
        ]
        content = self._read_manifest()
        for key in self._random.sample(["dataset", "study", "params_file", "space", "model", "command"], 2):
            content[key] = [text] if key == "command" else f"{content.get(key)}{text}"
        self._write_manifest(content)
        with contextlib.closing(sqlite3.connect(self._out / NAME / "study.db")) as database, database:
            database.execute(
                "UPDATE trial_user_attributes SET value_json = ? WHERE key LIKE '%error'",
                (json.dumps(f"no{text}"),),
            )
        return [
            ["check", *given],
            *self._reading(),
            ["report", f"x{text}".replace("\0", ""), "--out", f"{self._out}/{text}".replace("\0", "")],
        ]

    def _settings(self) -> Sequence[list[str]]:
        keys = [
            "field_separator",
            "seq_separator",
            "encoding",
            "load_col",
            "topk",
            "metrics",
            "eval_args",
            "val_interval",
        ]
        keys += [
            "USER_ID_FIELD",
            "benchmark_filename",
            "selected_features",
            "user_inter_num_interval",
            "seed",
        ]
        special = [
            "",
            "\0",
            "a" * 5000,
            {"inter": [1, 2]},
            {"inter": "*"},
            {1: 2},
            "9" * 5000,
            int("9" * 4000),
        ]
        config = {}
        for key in self._random.sample(keys, 2):
            config[key] = self._random.choice([*special, *ODD])
        path = self._out / "config.yaml"
        text = json.dumps(config, default=str) if _small(config) else f"{next(iter(config))}: {'9' * 5000}\n"
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        params = self._out / "hyper.test"
        params.write_text("learning_rate choice [0.1, 0.01]\n")
        given = [str(params), "--dataset", DATA, "--data-path", str(self._data)]
        return [["check", *given, "--config-files", str(path)]]

    def _texts(self) -> Sequence[list[str]]:
        """Params and config files that are hard to read; there is no data set, so that no worker starts."""
        params, config = self._out / "hyper.test", self._out / "config.yaml"
        values = [self._random.choice(HARD_VALUES) for _ in range(self._random.choice((1, 1, 3)))]
        kind = self._random.choice(("choice [", "choice ", "", "= ", ": [", "int ", "log "))
        names = ("n_layers", "learning_rate", "selected_features", "embedding_size", "zq")
        params.write_text(
            f"{self._random.choice(names)} {kind}{', '.join(values)}{'x' * 50}\nn_heads choice [1]\n"
        )
        keys = (
            "epochs",
            "topk",
            "load_col",
            "train_neg_sample_args",
            "seq_len",
            "dataset",
            "data_path",
            "zq",
        )
        lines = [
            f"{self._random.choice(keys)}: {self._random.choice((*HARD_YAML, *values))}" for _ in range(2)
        ]
        text = "\n".join(
            [*lines, self._random.choice(("", "a: &a {b: 1}\nc: {<<: [" + "*a, " * 9999 + "*a]}"))]
        )
        encoding = self._random.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig"))
        config.write_bytes(text.encode(encoding, "surrogatepass"))
        given = ["--dataset", "absent", "--data-path", str(self._data)]
        if self._random.random() < 0.3:
            given = []
        return [["check", str(params), "--config-files", str(config), *given]]


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a JSON value: the container and the key."""
    items = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in list(items):
        yield content, key
        yield from _places(value)


def _small(value: Any) -> bool:
    """Return whether Python prints every number in `value`."""
    if isinstance(value, dict):
        return all(map(_small, value.values()))
    if isinstance(value, list):
        return all(map(_small, value))
    return not isinstance(value, int) or abs(value) < 10**4000


@app.command()
def main(
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    kind: Annotated[str | None, typer.Option(help="Only cases of this kind.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the cases.")] = 2,
) -> None:
    """Print the counts as JSON; the exit code is 1 unless all findings are 0."""
    started = time.perf_counter()
    os.environ |= {"COLUMNS": "200", "TERM": "dumb"}
    shares = [cases // processes + (number < cases % processes) for number in range(processes)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        reports = pool.starmap(
            campaign, [(share, seed + number, kind) for number, share in enumerate(shares)]
        )
    counts = Counter[str]()
    for report in reports:
        counts.update(report.cases)
    findings = {
        name: sum(getattr(report, name) for report in reports) for name in vars(Report()) if name != "cases"
    }
    seconds = round(time.perf_counter() - started, 1)
    print(json.dumps({"cases": counts, **findings, "seed": seed, "seconds": seconds}, indent=2))
    raise typer.Exit(1 if any(findings.values()) else 0)


def campaign(cases: int, seed: int, kind: str | None) -> Report:
    """Run cases of one kind, or of all kinds in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        attacker = Attacker(Path(scratch).resolve(), seed)
        os.chdir(scratch)
        kinds = [kind] if kind else list(attacker.kinds)
        for number in range(cases):
            attacker.run(kinds[number % len(kinds)])
        os.chdir("/")
    return attacker.report


if __name__ == "__main__":
    app()
