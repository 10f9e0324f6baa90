"""The model card that `wavescat info` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ase.data import chemical_symbols

from ase_wavescat.potentials.held_out_errors import format_metrics
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import printable

_SHOWN = 5  # of a list of files, say


def model_card(model: Model) -> str:
    """Species, potential, calibration, domain, provenance and recorded errors as readable text."""
    lines = [f"digest      {model.digest}", "species     " + ", ".join(chemical_symbols[z] for z in model.species)]
    lines += model.card()
    scales = model.calibration.energy_scale, model.calibration.force_scale
    lines.append(f"calibration energy spread x {scales[0]:.3f}, force spread x {scales[1]:.3f}")
    none = ["domain      none recorded: no warnings outside it"]
    lines += none if model.domain is None else model.domain.card()
    provenance = dict(model.provenance)
    metrics = provenance.pop("metrics", None)
    provenance.pop("structures", None)
    lines += ["provenance", *(_tree(provenance) or ["    none recorded"])]
    lines += ["cross-validated errors", *_errors(metrics)]
    return "\n".join(map(printable, lines))


def _errors(metrics: Any) -> list[str]:
    """The table of the training run where the model comes from one, else whatever was recorded."""
    if not metrics:
        return ["    none recorded"]
    if not {"by_kind", "by_composition", "composition_of", "mean_of_members"} <= set(metrics):
        return _tree(metrics)
    return ["    " + line for line in format_metrics(metrics).splitlines()]


def _tree(value: Any, indent: int = 4) -> list[str]:
    """Nested plain data as indented lines; a flat mapping of numbers fits on one line."""
    pad = " " * indent
    if isinstance(value, Mapping):
        lines: list[str] = []
        for key, inner in value.items():
            if _is_flat(inner):
                lines.append(f"{pad}{key}: {_flat(inner)}")
            else:
                lines += [f"{pad}{key}", *_tree(inner, indent + 2)]
        return lines
    if isinstance(value, (list, tuple)):
        shown = [line for inner in value[:_SHOWN] for line in _item(inner, indent)]
        return shown + ([f"{pad}and {len(value) - _SHOWN} more"] if len(value) > _SHOWN else [])
    return [pad + _flat(value)]


def _item(value: Any, indent: int) -> list[str]:
    return [f"{' ' * indent}- {_flat(value)}"] if _is_flat(value) else _tree(value, indent)


def _is_flat(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(inner, (int, float)) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return all(isinstance(inner, (int, float)) for inner in value)
    return True


def _flat(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_flat(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_flat(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
