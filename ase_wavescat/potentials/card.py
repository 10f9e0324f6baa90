"""The model card that `wavescat info` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import chemical_symbols

from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.ensemble import Ensemble
from ase_wavescat.potentials.repulsion import pair_name
from ase_wavescat.system.errors import printable

_SHOWN = 5  # of a list of files, say


def model_card(ensemble: Ensemble) -> str:
    """Species, features, members, domain, calibration, provenance and recorded errors as readable text."""
    spec = ensemble.spec
    lines = [f"digest      {ensemble.digest}", "species     " + ", ".join(chemical_symbols[z] for z in spec.species)]
    lines.append(f"features    {len(ensemble.keys)} of the {len(spec.keys)} of its specification")
    kinds = Counter(spec.features[spec.index(key)].heading for key in ensemble.keys)
    lines += [f"    {count:5d}  {kind}" for kind, count in kinds.items()]
    scales = ", ".join(f"{scale:g}" for scale in spec.scales)
    wavelets = ", ".join(f"({n}, {degree})" for n, degree in spec.wavelets)
    lines.append(
        f"wavelets    (n, l) = {wavelets}; scales {scales}; beta {spec.beta:g} Å; tolerance {spec.tolerance:g}"
    )
    share = ensemble.force_components.share
    lines.append(
        f"members     {ensemble.members}, force spread from components carrying {100 * share:.1f} % of the variance"
    )
    lines += _baseline(ensemble)
    calibration = ensemble.calibration
    lines.append(
        f"calibration energy spread x {calibration.energy_scale:.3f}, force spread x {calibration.force_scale:.3f}"
    )
    lines += _domain(ensemble.domain)
    provenance = dict(ensemble.provenance)
    metrics = provenance.pop("metrics", None)
    provenance.pop("structures", None)
    lines += ["provenance", *(_tree(provenance) or ["    none recorded"])]
    lines += ["cross-validated errors", *_errors(metrics)]
    return "\n".join(map(printable, lines))


def _baseline(ensemble: Ensemble) -> list[str]:
    means = ensemble.species_energies.mean(axis=0)
    energies = ", ".join(f"{chemical_symbols[z]} {e:.4f}" for z, e in zip(ensemble.spec.species, means, strict=True))
    lines = [f"baseline    eV an atom: {energies}"]
    if ensemble.repulsion is not None:
        cutoffs = ", ".join(f"{pair} {cutoff:.2f}" for pair, cutoff in ensemble.repulsion.to_dict().items())
        lines.append(f"repulsion   below (Å): {cutoffs}")
    return lines


def _domain(domain: Domain | None) -> list[str]:
    if domain is None:
        return ["domain      none recorded: no warnings outside it"]
    fractions = ", ".join(
        f"{chemical_symbols[z]} {low:.3f} to {high:.3f}" for z, (low, high) in domain.fractions.items()
    )
    closest = ", ".join(f"{pair_name(pair)} {distance:.3f}" for pair, distance in domain.closest.items())
    varying = int(np.count_nonzero(domain.std > 0))
    return [
        f"domain      fractions: {fractions}",
        f"            closest pairs (Å): {closest}",
        f"            {varying} of {len(domain.std)} features vary over the training set",
        *_judged(domain),
    ]


def _judged(domain: Domain) -> list[str]:
    """What else a structure is judged by."""
    lines = []
    if domain.environments is not None:
        width = domain.environments.vectors.width
        lines.append(f"            environments of single atoms are judged, through wavelets {width:.2f} Å wide")
    if domain.typical_spread is not None:
        typical = 1000 * domain.typical_spread
        lines.append(f"            typical spread of the energy on held-out cells: {typical:.1f} meV/atom")
    if domain.periodic_only:
        lines.append("            no surfaces, wires or molecules")
    return lines


def _errors(metrics: Any) -> list[str]:
    """The table of the training run where the model comes from one, else whatever was recorded."""
    if not metrics:
        return ["    none recorded"]
    if not {"by_kind", "by_composition", "composition_of", "mean_of_members"} <= set(metrics):
        return _tree(metrics)
    from ase_wavescat.training.validation import format_metrics

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
