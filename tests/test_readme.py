"""README and docs/ say what is: their tables, commands, numbers and links."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer import Exit

from sasrecf_tune.inputs.constraints import feasibility
from sasrecf_tune.inputs.hyperparameters import TABLE
from sasrecf_tune.inputs.params_file import parse, read
from sasrecf_tune.inputs.validation import check_space
from sasrecf_tune.storage.directory import StudyDirectory
from tests.support import readme_blocks

TEXTS = {str(page.relative_to(readme_blocks.ROOT)): page.read_text() for page in readme_blocks.PAGES}
TEXT = "\n".join(TEXTS.values())
BENCHMARKS = [
    str(page.relative_to(readme_blocks.ROOT))
    for page in sorted((readme_blocks.ROOT / "benchmarks").rglob("README.md"))
]
LINES = sorted({line for text in TEXTS.values() for line in readme_blocks.command_lines(text)})
OTHER_PROGRAMS = ("ray ", "python ", "pip ", "ssh ", "scancel ", "zensical ", "hopwise ", "ruff ")


def test_each_generated_section_is_in_one_page() -> None:
    assert sorted(readme_blocks.generated_names(TEXT)) == sorted(readme_blocks.SECTIONS)


@pytest.mark.parametrize("page", TEXTS)
def test_generated_sections_are_current(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in ("40", "300"):
        monkeypatch.setenv("COLUMNS", width)
        assert readme_blocks.current(TEXTS[page]) == TEXTS[page], (
            "run: python -m tests.support.readme_blocks --write"
        )


def test_every_command_is_shown_in_use() -> None:
    assert {line.split()[1] for line in LINES} >= set(readme_blocks.commands())


@pytest.mark.parametrize("line", LINES)
def test_command_lines_are_valid(line: str) -> None:
    _, name, *arguments = shlex.split(line)
    if name.startswith("-"):
        assert name in ("--help", "--version")
        return
    command = readme_blocks.commands()[name]
    try:
        command.make_context(name, arguments)
    except Exit as done:
        assert done.exit_code == 0


@pytest.mark.parametrize("page", TEXTS)
def test_options_in_prose_exist(page: str) -> None:
    known = {
        option
        for command in readme_blocks.commands().values()
        for item in command.params
        for option in (*item.opts, *item.secondary_opts)
    }
    known |= set(
        re.findall(
            r"^#SBATCH (--[a-z-]+)",
            (readme_blocks.ROOT / "examples" / "array.sbatch").read_text(),
            re.MULTILINE,
        )
    )
    code = " ".join(
        span.replace("\n", " ")
        for span in re.findall(r"`([^`]+)`", readme_blocks.prose(TEXTS[page]))
        if not span.startswith(OTHER_PROGRAMS)
    )
    assert set(re.findall(r"(?<!\S)--[a-z][a-z_-]*", code)) <= known | {"--help", "--version"}


@pytest.mark.parametrize("page", [*TEXTS, "CHANGELOG.md", *BENCHMARKS])
def test_links_lead_somewhere(page: str) -> None:
    path = readme_blocks.ROOT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", readme_blocks.prose(path.read_text())):
        if not target.startswith(("https://", "http://")):
            name, _, anchor = target.partition("#")
            found = path.parent / name if name else path
            assert found.exists(), target
            assert not anchor or anchor in readme_blocks.anchors(found.read_text()), target


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_named_files_exist(page: str) -> None:
    named = set(re.findall(r"[\w./-]+/[\w.-]+\.(?:py|md|toml|yml|test|sbatch|txt)\b", TEXTS[page]))
    assert len(named) > 5
    assert not sorted(name for name in named if not (readme_blocks.ROOT / name).exists())


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_named_classes_and_functions_exist(page: str) -> None:
    spans = re.findall(r"`(\w+)`", readme_blocks.prose(TEXTS[page]))
    named = {name for name in spans if re.search(r"[A-Z]\w*[a-z]|[A-Z_]{4}|_", name)}
    assert len(named) > 5
    source = "\n".join(path.read_text() for path in (readme_blocks.ROOT / "sasrecf_tune").rglob("*.py"))
    assert not sorted(named - set(re.findall(r"\w+", source)))


@pytest.mark.parametrize("page", [*TEXTS, "CHANGELOG.md", *BENCHMARKS])
def test_named_benchmarks_exist(page: str) -> None:
    text = (readme_blocks.ROOT / page).read_text()
    names = re.findall(r"\bbenchmarks/[\w/]+\.\w+\b", text)
    for name in re.findall(r"-m\s+(benchmarks[.\w]+)", text):
        module = name.replace(".", "/")
        package = (readme_blocks.ROOT / module).is_dir()
        names.append(f"{module}/__main__.py" if package else f"{module}.py")
    for name in names:
        assert (readme_blocks.ROOT / name).exists(), name


def test_every_benchmark_is_in_the_index() -> None:
    directory = readme_blocks.ROOT / "benchmarks"
    programs = [path for path in directory.rglob("*.py") if "__main__" in path.read_text()]
    names = {
        ".".join(path.relative_to(directory).with_suffix("").parts).removesuffix(".__main__")
        for path in programs
    }
    listed = set(re.findall(r"^\| \[`([\w.]+)`\]", (directory / "README.md").read_text(), re.MULTILINE))
    started_by_others = {
        "robustness.killed_program",
        "engine.processes",
        "gpu_checks.check",
        "gpu_checks.faulty_search",
    }
    assert listed == names - started_by_others


def test_every_page_is_in_the_navigation() -> None:
    configured = yaml.safe_load((readme_blocks.ROOT / "mkdocs.yml").read_text())["nav"]
    listed = re.findall(r"[\w./-]+\.md", str(configured))
    pages = [str(path.relative_to(readme_blocks.DOCS)) for path in readme_blocks.DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(pages)


def test_every_page_is_linked_from_the_first() -> None:
    linked = set(re.findall(r"\]\(([\w/-]+\.md)", TEXTS["docs/index.md"]))
    pages = {str(path.relative_to(readme_blocks.DOCS)) for path in readme_blocks.DOCS.rglob("*.md")}
    assert linked == pages - {"index.md"}


def test_the_commands_that_ci_runs_are_marked() -> None:
    for marker in ("install", "install-new", "test"):
        assert re.search(rf"<!-- ci:{marker} -->\n```[a-z]*\n[^`]+\n```\n", TEXTS["README.md"])


def test_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 250


@pytest.mark.parametrize("path", readme_blocks.SPACES, ids=lambda path: path.name)
def test_search_spaces_can_be_used(path: Path) -> None:
    space = read(path)
    check_space(space)
    counted = feasibility(space, {})
    assert counted.feasible == counted.total
    for line in path.read_text().splitlines():
        assert line.isascii() and len(line) <= 105


def test_the_documented_grid() -> None:
    lines = (readme_blocks.ROOT / "search_spaces" / "sasrecf.test").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "learning_rate choice [0.01,0.005,0.001,0.0005,0.0001]",
        "attn_dropout_prob choice [0.2, 0.5]",
        "hidden_dropout_prob choice [0.2, 0.5]",
        "n_heads choice [1, 2]",
        "n_layers choice [1,2,3]",
    ]
    assert parse("\n".join(lines)).size == 120


def test_every_sasrecf_parameter_is_in_the_full_space() -> None:
    names = set(read(readme_blocks.ROOT / "search_spaces" / "full.test").names)
    assert names >= {name for name, known in TABLE.items() if known.group == "model"}


def test_the_files_of_a_study_are_listed() -> None:
    directory = Path("study")
    study_dir = StudyDirectory(directory)
    properties = [name for name, value in vars(StudyDirectory).items() if isinstance(value, property)]
    paths = [getattr(study_dir, name) for name in properties if name != "name"]
    listed = {path.name for path in paths if isinstance(path, Path) and path != directory}
    assert len(listed) > 5
    numbered = {
        method(study_dir, 7).name.replace("0007", "NNNN").replace("-7", "-N")
        for method in vars(StudyDirectory).values()
        if inspect.isfunction(method) and inspect.signature(method).parameters.keys() & {"number", "index"}
    }
    assert len(numbered) > 3
    for name in listed | numbered | {"logs"}:
        assert f"`{name}" in TEXTS["docs/reference/study-directory.md"], f"{name} is not listed"


def test_the_speed_figures_are_those_of_their_page() -> None:
    figures = re.search(r"<!-- speed -->\n(.*?)<!-- /speed -->", TEXTS["README.md"], re.DOTALL)
    assert figures is not None
    page = TEXTS["docs/explanation/speed.md"]
    for row in figures[1].splitlines():
        assert row.removesuffix("|") in page


def test_prose_numbers_of_configurations() -> None:
    said = re.findall(r"`(?:search_spaces/)?(\w+\.test)`:? (\d[\d,]*) configurations", TEXT)
    said += re.findall(r"^space +(\w+\.test): (\d[\d,]*) configurations", TEXT, re.MULTILINE)
    assert said
    for name, count in said:
        assert read(readme_blocks.ROOT / "search_spaces" / name).size == int(count.replace(",", ""))


def test_yaml_blocks_are_yaml() -> None:
    for block in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE):
        assert isinstance(yaml.safe_load(block), dict)
