"""The package's own models as subjects."""

from __future__ import annotations

import os
from functools import partial

from ase.data import chemical_symbols

from ase_wavescat.calculator import WaveScatCalculator
from ase_wavescat.potentials.file.model_file import load_model
from ase_wavescat.testing.subject import Subject


def model_subject(
    model: str | os.PathLike[str], *, calls: int = 2500, seed: int = 0, progress: bool = False
) -> Subject:
    """A WaveScatCalculator of a model, with all that is said of it: its species, pickles, threads that share it.

    model: name of a bundled model, or a path; read once.  The others are those of `Subject`.
    Raises ModelNotFoundError and ModelFileError.
    """
    loaded = load_model(model)
    species = [chemical_symbols[number] for number in loaded.species]
    make = partial(WaveScatCalculator, loaded)
    return Subject(make, species, thread_safe=True, calls=calls, seed=seed, progress=progress)
