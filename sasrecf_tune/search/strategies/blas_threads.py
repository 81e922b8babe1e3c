"""Linear algebra on one thread, for matrices that are too small for several."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

P = ParamSpec("P")
T = TypeVar("T")


def on_one_thread(function: Callable[P, T]) -> Callable[P, T]:
    """Limit the BLAS libraries of numpy and scipy to one thread while `function` runs.

    With several, most of its processor time would go to threads that wait for each other in a loop, on cores
    that workers need.
    """

    @wraps(function)
    def limited(*args: P.args, **kwargs: P.kwargs) -> T:
        with _controller().limit(limits=1, user_api="blas"):
            return function(*args, **kwargs)

    return limited


@cache
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # the controller finds libraries that are loaded
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
