"""Jinja's environment for the templates of a package; jinja2 is imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sasrecf_tune.report.text import count_text
from sasrecf_tune.trials import cell_text

if TYPE_CHECKING:
    from jinja2 import Environment


def template_environment(package: str, **options: Any) -> Environment:
    """Return the environment of `package`, with the filters that all texts need.

    Args:
        options: More arguments of Jinja's environment.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters |= {"cell": cell_text, "count_of": count_text}
    return environment
