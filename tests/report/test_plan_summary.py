"""The plan that is printed before a search."""

from sasrecf_tune.report.terminal.plan_summary import settings_lines


def test_settings_are_listed_by_where_they_were_given() -> None:
    config = {"epochs": 5, "learner": "sgd", "n_layers": 1}
    sources = {"epochs": "my a.yaml", "learner": "--set", "n_layers": "my a.yaml"}
    assert settings_lines(config, sources) == ["my a.yaml: epochs=5 n_layers=1", "--set: learner=sgd"]
    assert settings_lines(config, {}) == ["epochs=5 learner=sgd n_layers=1"]
    assert settings_lines({}, {}) == []
