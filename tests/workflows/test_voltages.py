"""Voltages against the metal, with energies whose voltages are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.model import Model
from ase_wavescat.system.errors import CalculatorError, DataError
from ase_wavescat.workflows import References, VoltageCurve, voltage
from linear_models import changed, linear, species_energies

LI, SI = -1.9, -5.4
REFERENCES = {"Li": LI}


def _structure(lithium: int, silicon: int, inserted: float, host: str = "Si") -> Atoms:
    """Energy: of the elements, and `inserted` (eV per Si)."""
    atoms = Atoms(f"Li{lithium}{host}{silicon}" if lithium else f"{host}{silicon}", cell=[30] * 3, pbc=True)
    atoms.positions[:, 0] = 0.3 * np.arange(len(atoms))
    atoms.calc = SinglePointCalculator(atoms, energy=lithium * LI + silicon * (SI + inserted))
    return atoms


def test_the_step_between_two_compositions_is_equation_c1() -> None:
    curve = voltage([_structure(8, 4, -0.7), _structure(2, 4, -0.25)], references=REFERENCES)
    assert curve.x == pytest.approx([0.5, 2.0]) and curve.host == "Si"
    assert curve.voltages == pytest.approx([-(-0.7 - -0.25) / 1.5])
    assert curve.energies == pytest.approx([0.5 * LI + SI - 0.25, 2 * LI + SI - 0.7])
    assert curve.voltage_spread is None and curve.smooth_voltages is None and curve.fit_residual is None
    assert "x = 0.500 to 2.000: 0.300 V" in curve.summary() and "-1.9000 eV/atom, given" in curve.summary()


def test_steps_are_those_of_the_lower_convex_envelope() -> None:
    inserted = {0: 0.0, 1: -0.1, 2: -0.5, 3: -0.6, 4: -0.7, 5: -0.65}
    curve = voltage([_structure(4 * x, 4, energy) for x, energy in inserted.items()], references=REFERENCES)
    assert curve.edges == pytest.approx([0, 2, 4, 5])
    assert curve.voltages == pytest.approx([0.25, 0.1, -0.05])
    assert np.all(np.diff(curve.voltages) < 0)


def test_several_structures_of_one_composition_give_their_mean_or_the_lowest() -> None:
    structures = [_structure(0, 4, 0.0), _structure(4, 4, -0.2), _structure(8, 8, -0.4)]
    mean = voltage(structures, references=REFERENCES)
    assert mean.samples.tolist() == [1, 2] and mean.voltages == pytest.approx([0.3])
    assert mean.scatter == pytest.approx([0.0, np.std([-0.2, -0.4], ddof=1)])
    lowest = voltage(structures, references=REFERENCES, per_composition="lowest")
    assert lowest.voltages == pytest.approx([0.4]) and lowest.per_composition == "lowest"


def test_the_smooth_curve_is_the_derivative() -> None:
    """A cubic solution model, G/(1+x) = a z + b z^2 + c z^3, against finite differences of G."""

    def inserted(x: float) -> float:
        z = x / (1 + x)
        return (1 + x) * (-0.6 * z + 0.9 * z**2 - 0.4 * z**3)

    ratios = [(0, 8), (2, 8), (4, 8), (8, 8), (12, 8), (16, 8), (24, 8), (30, 8)]
    structures = [_structure(n, m, inserted(n / m)) for n, m in ratios]
    curve = voltage(structures, references=REFERENCES, order=3)
    assert curve.smooth_x is not None and curve.smooth_voltages is not None and curve.fit_residual is not None
    step = 1e-5
    exact = [-(inserted(x + step) - inserted(x - step)) / (2 * step) for x in curve.smooth_x]
    assert curve.smooth_voltages == pytest.approx(exact, abs=1e-7)
    assert curve.fit_residual < 1e-12
    rougher = voltage(structures, references=REFERENCES, order=2)
    assert rougher.fit_residual is not None and rougher.fit_residual > 1e-4


def test_any_ion_and_host_of_several_elements() -> None:
    structures = []
    for sodium, energy in ((0, -60.0), (4, -75.0)):
        atoms = Atoms(f"C8O4Na{sodium}" if sodium else "C8O4", cell=[30] * 3, pbc=True)
        atoms.positions[:, 0] = np.arange(len(atoms))
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        structures.append(atoms)
    curve = voltage(structures, ion="Na", references={"Na": -1.3})
    assert curve.host == "C2O" and curve.x == pytest.approx([0, 1])
    assert curve.voltages == pytest.approx([(15 - 4 * 1.3) / 4])


def test_cells_of_the_ion_alone_are_its_metal() -> None:
    structures = [_structure(2, 4, -0.25), _structure(8, 4, -0.7)]
    metal = [Atoms("Li2", cell=[4] * 3, pbc=True), Atoms("Li", cell=[3] * 3, pbc=True)]
    for atoms, energy in zip(metal, (2 * LI + 0.2, LI), strict=True):
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    curve = voltage([*structures, *metal])
    given = voltage(structures, references=REFERENCES)
    assert curve.reference == LI and curve.voltages == pytest.approx(given.voltages)
    assert "the lowest of 2 cells of Li among the structures (Li)" in curve.summary()
    assert len(curve.entries) == 2
    assert voltage([*structures, *metal], references={"Li": LI - 1}).voltages == pytest.approx(given.voltages - 1)
    with pytest.raises(CalculatorError, match="only stores results"):
        voltage(structures)


def test_bad_input_is_named() -> None:
    silicon, compound = _structure(0, 4, 0.0), _structure(4, 4, -0.3)
    with pytest.raises(DataError, match=r"two compositions at least, got x = 1\.0"):
        voltage([compound, compound], references=REFERENCES)
    with pytest.raises(DataError, match="got x = none"):
        voltage([], references=REFERENCES)
    with pytest.raises(DataError, match="no reference energy of Li"):
        voltage([silicon, compound], references={"Na": -1.0})
    with pytest.raises(DataError, match=r"several hosts .*Si of Si4.*Ge of"):
        voltage([silicon, _structure(4, 4, 0.0, host="Ge")], references=REFERENCES)
    with pytest.raises(DataError, match="'mean' or 'lowest', got 'median'"):
        voltage([silicon, compound], references=REFERENCES, per_composition="median")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="order must be positive, got 0"):
        voltage([silicon, compound], references=REFERENCES, order=0)
    compound.calc = None
    with pytest.raises(CalculatorError, match="has no calculator"):
        voltage([silicon, compound], references=REFERENCES)


@pytest.fixture(scope="module")
def model_structures(small_ensemble: Model) -> list[Atoms]:
    calculator = WaveScatCalculator(small_ensemble)
    rng = np.random.default_rng(3)
    structures = []
    for lithium in (0, 1, 2, 4, 5):
        atoms = Atoms("Si" * 2 + "Li" * lithium, cell=np.eye(3) * (5.0 + 0.3 * lithium), pbc=True)
        sites = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)[: len(atoms)]
        atoms.set_scaled_positions(sites / 2 + rng.uniform(-0.05, 0.05, (len(atoms), 3)))
        atoms.calc = calculator
        structures.append(atoms)
    return structures


def test_the_spread_is_that_of_each_members_voltage(model_structures: list[Atoms], tmp_path: Path) -> None:
    calculator = model_structures[0].calc
    members = np.array([calculator.get_member_energies(atoms) for atoms in model_structures])
    ion = References({"Li": -7.0}, {"Li": "members"}, {"Li": np.linspace(-7.1, -6.9, members.shape[1])})
    curve = voltage(model_structures, references=ion, order=2, published=[(1.0, 0.3)])
    assert curve.voltage_spread is not None and curve.smooth_spread is not None
    at = [list(curve.x).index(edge) for edge in curve.edges]
    each = []
    for member in range(members.shape[1]):
        gained = members[:, member] / 2 - curve.x * ion.members["Li"][member]  # type: ignore[index]
        each.append(-np.diff(gained[at]) / np.diff(curve.edges))
    scale = calculator.model.calibration.energy_scale
    assert curve.voltage_spread == pytest.approx(scale * np.std(each, axis=0, ddof=1))
    written = curve.write(tmp_path, "curve")
    assert written.with_suffix(".png").stat().st_size > 5000 and '"published"' in written.read_text()


def test_errors_that_members_share_cancel(model_structures: list[Atoms]) -> None:
    """A reference of the same members that takes each one's energy per ion leaves no spread between these two."""
    pair = [model_structures[1], model_structures[3]]
    members = np.array([pair[0].calc.get_member_energies(atoms) for atoms in pair])
    per_ion = (members[1] - members[0]) / 3
    shared = References({"Li": float(per_ion.mean())}, {"Li": "shared"}, {"Li": per_ion})
    curve = voltage(pair, references=shared)
    assert curve.voltages == pytest.approx([0.0], abs=1e-9)
    assert curve.voltage_spread == pytest.approx([0.0], abs=1e-9)
    fixed = voltage(pair, references={"Li": float(per_ion.mean())}).voltage_spread
    assert fixed is not None and fixed[0] > 1e-3


def test_the_callers_structures_stay(make_structure: Callable[..., Atoms], small_ensemble: Model) -> None:
    structures = [make_structure(0, 4), make_structure(1, 5)]
    for atoms in structures:
        atoms.calc = WaveScatCalculator(small_ensemble)
    before = [(atoms.positions.copy(), atoms.calc) for atoms in structures]
    voltage(structures, references={"Li": -7.0})
    assert all(np.array_equal(a.positions, p) and a.calc is c for a, (p, c) in zip(structures, before, strict=True))


def test_the_picture_has_steps_and_points() -> None:
    curve = voltage([_structure(0, 4, 0.0), _structure(4, 4, -0.3)], references=REFERENCES, published=[(0.5, 0.31)])
    assert isinstance(curve, VoltageCurve)
    left, right = curve.plot().axes
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert "published" in labels and left.get_xlabel() == "x in Li$_x$Si"


def test_the_smooth_curve_needs_more_compositions_than_coefficients_and_has_the_members_spread(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    structures = []
    for lithium in range(4):
        atoms = make_structure(lithium)
        atoms.numbers[:] = [3] * lithium + [14] * (6 - lithium)
        atoms.calc = WaveScatCalculator(small_ensemble)
        structures.append(atoms)
    few = voltage(structures, references=REFERENCES, order=3)
    assert few.smooth_voltages is None and few.smooth_spread is None and few.voltage_spread is not None
    curve = voltage(structures, references=REFERENCES, order=2)
    single = []
    for row in range(small_ensemble.members):
        member = changed(
            small_ensemble,
            weights=linear(small_ensemble).weights[[row]],
            species_energies=species_energies(small_ensemble)[[row]],
        )
        for atoms in structures:
            atoms.calc = WaveScatCalculator(member)
        single.append(voltage(structures, references=REFERENCES, order=2).smooth_voltages)
    scale = small_ensemble.calibration.energy_scale
    np.testing.assert_allclose(curve.smooth_spread, scale * np.std(single, axis=0, ddof=1), rtol=1e-6)
