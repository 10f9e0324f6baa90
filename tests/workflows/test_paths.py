"""Energies and barriers along given paths."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.io import read

from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import WaveScatWarning
from ase_wavescat.workflows import Barrier, path_energies


@pytest.mark.filterwarnings("ignore::ase_wavescat.WaveScatWarning")
def test_spreads_are_those_of_the_members_own_differences(
    silicon_hop: tuple[Atoms, Atoms], small_ensemble: Model
) -> None:
    initial, final = silicon_hop
    calculator = initial.calc
    middle = initial.copy()
    middle.positions[-1] = (3.4, 3.4, 3.4)
    band = path_energies([initial, middle, final], calculator)
    members = np.array([calculator.get_member_energies(image) for image in band.images])
    scale = small_ensemble.calibration.energy_scale
    expected = scale * (members[band.highest] - members[0]).std(ddof=1)
    assert band.forward_spread == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert band.reaction_spread == pytest.approx(scale * (members[-1] - members[0]).std(ddof=1), rel=1e-9)
    assert band.energy_spreads is not None and band.energy_spreads[0] == 0
    # Errors that the members share cancel: far below the spreads of the energies themselves
    assert band.reaction_spread < 0.5 * scale * members.std(axis=1, ddof=1).max()


def test_stored_energies_are_taken_as_they_are(adatom_band: Barrier) -> None:
    band = path_energies(adatom_band.images)
    assert band.energies == pytest.approx(adatom_band.energies, abs=1e-12)
    assert band.forward_fit == pytest.approx(adatom_band.forward_fit, abs=1e-9)
    again = path_energies(adatom_band.images, EMT())
    assert again.energies == pytest.approx(band.energies, abs=1e-9)


def test_a_path_wrapped_into_the_cell_is_the_same_path(adatom_band: Barrier) -> None:
    wrapped = [image.copy() for image in adatom_band.images]
    for number, image in enumerate(wrapped):
        image.set_constraint()
        image.positions += 0.5 * number  # a drift that no force sees, over the boundary
        image.wrap()
    plain = [image.copy() for image in adatom_band.images]
    for image in plain:
        image.set_constraint()
    assert np.abs(wrapped[-1].positions - plain[-1].positions).max() > 2
    first, second = path_energies(wrapped, EMT()), path_energies(plain, EMT())
    assert first.energies == pytest.approx(second.energies, abs=1e-9)
    assert first.forward_fit == pytest.approx(second.forward_fit, abs=1e-6)
    assert first.lengths == pytest.approx(second.lengths, abs=1e-6)


def test_minima_between_the_ends_are_named() -> None:
    """An argon pair drawn apart along a third atom: in, over, in again."""
    chain = [Atoms("Ar3", [(0, 0, 0), (8, 0, 0), (x, 0, 0)]) for x in (2.0, 1.2, 4.0, 6.9, 6.0)]
    with pytest.warns(WaveScatWarning, match=r"minimum between the ends at image 2: the path is several hops"):
        band = path_energies(chain, LennardJones(sigma=1.5, epsilon=1.0))
    assert band.minima == [2]


def test_a_downhill_path_has_no_barrier() -> None:
    pair = [Atoms("Ar2", [(0, 0, 0), (x, 0, 0)]) for x in (2.4, 2.1, 1.9, 1.7)]
    with pytest.warns(WaveScatWarning, match="no image between the ends is above both"):
        band = path_energies(pair, LennardJones(sigma=1.5, epsilon=1.0))
    assert band.highest == 0 and band.forward == 0 and band.backward > 0.1


def test_what_is_written_reads_back(adatom_band: Barrier, tmp_path: Path) -> None:
    path = adatom_band.write(tmp_path, "hop")
    figures = json.loads(path.read_text())
    assert figures["forward"] == adatom_band.forward and figures["converged"] is True and figures["minima"] == []
    assert figures["forward_spread"] is None
    images = read(tmp_path / "hop.extxyz", ":")
    assert [image.get_potential_energy() for image in images] == pytest.approx(adatom_band.energies, abs=1e-6)
    assert (tmp_path / "hop.png").read_bytes().startswith(b"\x89PNG")
