"""Show in which operators the fast engine spends its time: python -m benchmarks.engine.operators --help."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from benchmarks.common import MarkdownFile, Threads, print_progress, set_threads, start, write_output
from benchmarks.engine.datasets import ML_100K, choose_features, find_datasets, training_config
from benchmarks.engine.processes import ProcessSetting

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    data: Annotated[str, typer.Option(metavar="DIR", help=f"{ML_100K}, or the directory of one.")] = ML_100K,
    layers: Annotated[int, typer.Option(min=1, help="Number of layers.")] = 2,
    times: Annotated[int, typer.Option(min=1, help="Steps and validations.")] = 4,
    rows: Annotated[int, typer.Option(min=1, help="Operators of a table, those that take longest.")] = 14,
    threads: Threads = 0,
    markdown: MarkdownFile = None,
) -> None:
    """Print the operators of a step and of a validation on a CPU, by the time they take themselves.

    GFLOP/s are those of matrix products.
    """
    set_threads(threads)
    # Imported after the number of threads is set.
    from benchmarks.engine.measured_engines import MeasuredEngine

    one = find_datasets(data)[0]
    config = training_config(one, choose_features([one], [])[0], layers, [])
    engine = MeasuredEngine(ProcessSetting("fast", "cpu", config), "cpu")
    engine.prepare()
    engine.build()
    tables = []
    for name, work in (("step", engine.step), ("validation", engine.validate)):
        print_progress(f"{one.name}, layers {layers}: {name}")
        work()  # a warm-up
        tables.append(_table(name, work, times, rows))
    write_output("\n".join(tables), markdown)


def _table(name: str, work: Any, times: int, rows: int) -> str:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as profiled:
        for _ in range(times):
            work()
    events = sorted(profiled.key_averages(), key=lambda event: -event.self_cpu_time_total)
    whole = sum(event.self_cpu_time_total for event in events)
    lines = [
        f"| operator of a {name} | calls | ms | share | GFLOP/s |",
        "| --- | --- | --- | --- | --- |",
    ]
    for event in events[:rows]:
        spent = event.self_cpu_time_total
        speed = f"{event.flops / spent / 1e3:.0f}" if event.flops and spent else ""
        lines.append(
            f"| {event.key} | {event.count / times:.0f} | {spent / times / 1e3:.2f} "
            f"| {spent / whole:.1%} | {speed} |"
        )
    rest = sum(event.self_cpu_time_total for event in events[rows:])
    lines.append(f"| all others | | {rest / times / 1e3:.2f} | {rest / whole:.1%} | |")
    lines.append(f"| together | | {whole / times / 1e3:.2f} | 100.0% | |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    start(app)
