"""Features of wavelets too wide for the training cells are not learnt from."""

from __future__ import annotations

import numpy as np

from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.transform import Transform
from ase_wavescat.structure.structure import Structure
from ase_wavescat.training.linear.visibility import visible_features


def test_the_widest_moduli_are_invisible_in_small_cells() -> None:
    """In cells of 8 A many waves of octave 4 hardly fit; larger cells see more of them."""
    spec, counts = preset("sinz2020", ["Li"], scales=(0.0, 1.0, 2.0, 3.0, 4.0), orders=(0, 1)), []
    transform, rng = Transform(spec), np.random.default_rng(0)
    for side in (8.0, 16.0):
        atoms = round(0.05 * side**3)
        frames = [(side * np.eye(3), side * rng.random((atoms, 3)), np.full(atoms, 3)) for _ in range(4)]
        spread = np.std([transform.evaluate(Structure(*frame)).features / atoms for frame in frames], axis=0)
        visible = visible_features(spec.keys, spread)
        widest = np.array([":4," in key for key in spec.keys])
        assert not visible[widest].all()
        assert visible[[":0," in key for key in spec.keys]].all()
        counts.append(visible.sum())
    assert counts[1] > counts[0]


def test_other_features_are_always_visible() -> None:
    keys = preset("correlations", ["Li"]).keys
    assert visible_features(keys, np.geomspace(1e-20, 1.0, len(keys))).all()
