"""One function over many structures, by several processes that each hold the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ase_wavescat.potentials.model import Model
from ase_wavescat.system.processes import end_with_parent, worker_pool

Item = TypeVar("Item")
Result = TypeVar("Result")


def for_each(
    model: Model, work: Callable[..., Result], items: Iterable[Item], workers: int, chunk: int = 1
) -> Iterator[Result]:
    """work(model, item) of each item, in order; `work` is a function of a module.

    workers: processes; one is this.  chunk: items handed over at a time.
    """
    if workers <= 1:
        yield from (work(model, item) for item in items)
        return
    with worker_pool(workers, _start_worker, (model, work)) as pool:
        yield from pool.map(_work, items, chunksize=chunk)


_worker: dict[str, Any] = {}


def _start_worker(model: Model, work: Callable[..., Any]) -> None:
    end_with_parent()
    _worker.update(work=work, model=model)


def _work(item: Any) -> Any:
    return _worker["work"](_worker["model"], item)
