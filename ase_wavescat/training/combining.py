"""Several models as one."""

from __future__ import annotations

from collections.abc import Sequence

from ase_wavescat.potentials.committee import Committee
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import DataError
from ase_wavescat.training.data.duplicates import Seen
from ase_wavescat.training.provenance import seen_structures

_TOLD = ("label_source", "licence", "citation")


def combine(models: Sequence[Model], weights: Sequence[float] = ()) -> Model:
    """The weighted mean of models, with the spread over all their members.

    Each is kept whole, so that what any of them warns of is warned of. The spread is not calibrated: `evaluate` with
    `calibrate=True` does that, by labels that none of them has learned.

    Args:
        models: Two or more, of the same species and the same zero of energy.
        weights: One for each; by default all are equal.

    Raises:
        DataError: For models of unlike species, and weights that do not fit.
    """
    species = {model.species for model in models}
    if len(species) > 1:
        raise DataError(f"models of unlike species cannot be one, got {sorted(species)}")
    try:
        committee = Committee(tuple(models), tuple(weights))
    except ValueError as error:
        raise DataError(str(error)) from error
    seen = Seen()
    for model in models:
        seen = seen | seen_structures(model)
    files = [entry for model in models for entry in model.provenance.get("data", [])]
    told = {name: models[0].provenance[name] for name in _TOLD if name in models[0].provenance}
    provenance = {
        **told,
        "data": [entry for index, entry in enumerate(files) if entry not in files[:index]],
        "structures": seen.to_record(),
        "combined": [model.digest for model in models],
    }
    return Model(committee, models[0].domain, provenance=provenance)
