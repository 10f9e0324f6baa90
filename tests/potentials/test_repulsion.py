"""The pair repulsion against its formula and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii

from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.structure.structure import Structure
from ase_wavescat.system.errors import StructureError
from linear_models import whole

CELLS = {
    "one atom, 2 A": Atoms("Si", cell=2 * np.eye(3), pbc=True),
    "skewed": Atoms(
        "LiSiLi",
        [[0, 0, 0], [1.1, 0.9, 0.7], [2.9, 0.2, 1.3]],
        cell=[[4, 0, 0], [3.1, 2.5, 0], [-1.2, 0.8, 3]],
        pbc=True,
    ),
    "one atom, flat": Atoms("Li", cell=[[1.4, 0, 0], [0.6, 9, 0], [0.3, 4, 20]], pbc=True),
}


def energy(repulsion: PairRepulsion, atoms: Atoms) -> float:
    return repulsion.predict(Structure.from_atoms(atoms)).energy


def lonely_pair(distance: float, symbols: str = "LiSi") -> Atoms:
    return Atoms(symbols, [[0, 0, 0], [distance, 0, 0]], cell=20 * np.eye(3), pbc=True)


def test_two_atoms_follow_the_formula_and_its_switch() -> None:
    repulsion = PairRepulsion({(3, 14): 2.0})
    length = 0.8854 * 0.529177 / (3**0.23 + 14**0.23)

    def bare(r: float) -> float:
        x = r / length
        screening = (
            0.18175 * np.exp(-3.19980 * x)
            + 0.50986 * np.exp(-0.94229 * x)
            + 0.28022 * np.exp(-0.40290 * x)
            + 0.02817 * np.exp(-0.20162 * x)
        )
        return 14.399645 * 3 * 14 / r * screening

    assert energy(repulsion, lonely_pair(0.7)) == pytest.approx(bare(0.7), rel=2e-6)
    assert energy(repulsion, lonely_pair(1.0)) == pytest.approx(bare(1.0), rel=2e-6)
    assert energy(repulsion, lonely_pair(1.5)) == pytest.approx(0.5 * bare(1.5), rel=2e-6)
    assert energy(repulsion, lonely_pair(2.0001)) == 0.0
    assert energy(repulsion, lonely_pair(1.5, "Li2")) == 0.0


def test_images_across_open_directions_do_not_repel() -> None:
    repulsion = PairRepulsion({(3, 14): 2.0})
    positions, numbers = np.array([[0.1, 0, 0], [2.9, 0, 0]]), np.array([3, 14])
    cell = np.diag([4.0, 0.0, 0.0])
    alone = whole(repulsion.predict(Structure(np.zeros((3, 3)), positions, numbers, (False, False, False))))
    assert alone[0] == 0.0 and not alone[1].any()
    wire, gradient, _ = whole(repulsion.predict(Structure(cell, positions, numbers, (True, False, False))))
    assert wire == pytest.approx(energy(repulsion, lonely_pair(1.2)))
    assert gradient[0, 0] == pytest.approx(-gradient[1, 0]) and gradient[0, 0] < 0


def test_the_second_derivative_is_continuous() -> None:
    repulsion = PairRepulsion({(3, 14): 2.0})
    for joint in (1.0, 2.0):
        step = 1e-4
        samples = [energy(repulsion, lonely_pair(joint + k * step)) for k in range(-3, 4)]
        curvature = np.diff(samples, 2) / step**2
        assert np.ptp(curvature) < 0.05 * max(1.0, abs(curvature).max())


@pytest.mark.parametrize("name", CELLS)
def test_gradient_and_strain_gradient_against_differences(name: str) -> None:
    atoms = CELLS[name]
    repulsion = PairRepulsion.from_species([3, 14])
    cell, positions, numbers = atoms.cell.array, atoms.positions, atoms.numbers
    value, gradient, strain_gradient = whole(repulsion.predict(Structure(cell, positions, numbers)))
    assert value > 0
    step = 1e-5
    scale = abs(strain_gradient).max()
    for index in np.ndindex(positions.shape):
        shift = np.zeros_like(positions)
        shift[index] = step
        ahead = repulsion.predict(Structure(cell, positions + shift, numbers)).energy
        behind = repulsion.predict(Structure(cell, positions - shift, numbers)).energy
        assert (ahead - behind) / (2 * step) == pytest.approx(gradient[index], abs=1e-7 * scale)
    for index in np.ndindex(3, 3):
        strain = np.zeros((3, 3))
        strain[index] += step / 2
        strain[index[::-1]] += step / 2
        up, down = np.eye(3) + strain, np.eye(3) - strain
        ahead = repulsion.predict(Structure(cell @ up, positions @ up, numbers)).energy
        behind = repulsion.predict(Structure(cell @ down, positions @ down, numbers)).energy
        assert (ahead - behind) / (2 * step) == pytest.approx(strain_gradient[index], abs=1e-7 * scale)


def test_energy_is_extensive() -> None:
    atoms = CELLS["skewed"]
    repulsion = PairRepulsion.from_species([3, 14])
    assert energy(repulsion, atoms.repeat((2, 1, 2))) == pytest.approx(4 * energy(repulsion, atoms), rel=1e-12)


def test_default_cutoffs_are_sums_of_covalent_radii_and_survive_a_round_trip() -> None:
    repulsion = PairRepulsion.from_species([14, 3])
    assert repulsion.cutoffs == {
        (3, 3): 2 * covalent_radii[3], (3, 14): covalent_radii[3] + covalent_radii[14], (14, 14): 2 * covalent_radii[14]
    }  # fmt: skip
    assert PairRepulsion.from_dict(repulsion.to_dict()) == repulsion


def test_without_pairs_nothing_repels() -> None:
    value, gradient, strain = whole(
        PairRepulsion({}).predict(Structure(2 * np.eye(3), np.zeros((1, 3)), np.array([14])))
    )
    assert value == 0 and not gradient.any() and not strain.any()


def test_atoms_at_the_same_place_are_named() -> None:
    with pytest.raises(StructureError, match="atoms 0 and 1 lie at the same place"):
        energy(PairRepulsion.from_species([3, 14]), lonely_pair(0.0))


@pytest.mark.parametrize(
    ("cutoffs", "message"),
    [
        ({(3, 14): -1.0}, "Li-Si must be a positive length, got -1"),
        ({(3, 14): float("nan")}, "positive length"),
        ({(3, 14): 1.0, (14, 3): 2.0}, "two different"),
        ({(0, 14): 1.0}, "no elements"),
    ],
)
def test_bad_cutoffs_are_refused(cutoffs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairRepulsion(cutoffs)


def test_a_bad_pair_name_is_refused() -> None:
    with pytest.raises(ValueError, match="'Li'"):
        PairRepulsion.from_dict({"Li": 1.0})
