"""One function over many structures, by several processes that each hold the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ase_wavescat.potentials.ensemble import Ensemble
from ase_wavescat.system.processes import end_with_parent, worker_pool

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def for_each(
    ensemble: Ensemble, work: Callable[..., Outcome], items: Iterable[Item], workers: int, chunk: int = 1
) -> Iterator[Outcome]:
    """work(ensemble, transform, item) of each item, in order; `work` is a function of a module.

    workers: processes; one is this.  chunk: items handed over at a time.
    """
    if workers <= 1:
        transform = ensemble.transform()
        yield from (work(ensemble, transform, item) for item in items)
        return
    with worker_pool(workers, _start_worker, (ensemble, work)) as pool:
        yield from pool.map(_work, items, chunksize=chunk)


_worker: dict[str, Any] = {}


def _start_worker(ensemble: Ensemble, work: Callable[..., Any]) -> None:
    end_with_parent()
    _worker.update(work=work, ensemble=ensemble, transform=ensemble.transform())


def _work(item: Any) -> Any:
    return _worker["work"](_worker["ensemble"], _worker["transform"], item)
