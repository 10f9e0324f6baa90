"""Formation energies and the lower convex hull, against linear programming, ASE's phase diagram and known answers."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.phasediagram import PhaseDiagram
from scipy.optimize import linprog, minimize_scalar

from ase_wavescat import WaveScatCalculator
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation import Bands, Correlations, Maps, ScatteringSpec
from ase_wavescat.system.errors import CalculatorError, DataError, WaveScatWarning
from ase_wavescat.workflows import (
    References,
    convex_hull,
    energies_above_hull,
    formation_energies,
    reference_energies,
)
from ase_wavescat.workflows.hull import composition_table, member_formation_energies


def test_formation_energies_are_relative_to_the_elements() -> None:
    formation = formation_energies(["Li", "Li3Si", {"Li": 1, "Si": 1}], [-2.0, -12.0, -7.6], {"Li": -2.0, "Si": -5.0})
    assert formation == pytest.approx([0.0, -0.25, -0.3])


def test_a_missing_or_impossible_reference_is_named() -> None:
    with pytest.raises(DataError, match=r"no reference energy of Si \(known: Li\).*reference_energies"):
        formation_energies(["LiSi"], [-7.0], {"Li": -2.0})
    with pytest.raises(DataError, match="Lx = -2"):
        formation_energies(["LiSi"], [-7.0], {"Lx": -2.0})
    with pytest.raises(DataError, match="Si = nan"):
        formation_energies(["LiSi"], [-7.0], {"Li": -2.0, "Si": np.nan})
    with pytest.raises(DataError, match="no atoms"):
        formation_energies([{}], [0.0], {})


def _by_linear_programming(compositions: list[dict[str, int]], formation: np.ndarray) -> np.ndarray:
    """Energy above hull as a mixture problem: the cheapest mixture of entries and elements of each composition."""
    elements, counts = composition_table(compositions)
    fractions = counts / counts.sum(axis=1, keepdims=True)
    ends = np.vstack([fractions, np.eye(len(elements))])
    costs = np.concatenate([formation, np.zeros(len(elements))])
    return np.array([f - linprog(costs, A_eq=ends.T, b_eq=c).fun for f, c in zip(formation, fractions, strict=True)])


@pytest.mark.parametrize("elements", [("Li", "Si"), ("Li", "Si", "O"), ("Li", "Si", "O", "C")])
@pytest.mark.parametrize("shift", [-0.5, -1.0, 0.0])
def test_the_hull_is_the_cheapest_mixture(elements: tuple[str, ...], shift: float) -> None:
    rng = np.random.default_rng(len(elements))
    compositions = []
    for _ in range(60):
        numbers = rng.integers(0, 5, len(elements))  # with elements, binaries and duplicates among them
        numbers[0] += not numbers.any()
        compositions.append(dict(zip(elements, map(int, numbers), strict=True)))
    formation = rng.uniform(0, 1, len(compositions)) + shift
    above = energies_above_hull(compositions, formation)
    assert above == pytest.approx(_by_linear_programming(compositions, formation), abs=1e-9)
    assert above.min() == 0.0 or shift == 0.0


def test_the_hull_is_that_of_ase() -> None:
    rng = np.random.default_rng(1)
    compositions = ["Li", "Si", *(f"Li{n}Si{m}" for n, m in rng.integers(1, 8, (20, 2)))]
    formation = np.concatenate([[0, 0], -0.2 * rng.uniform(size=20)])
    sizes = composition_table(compositions)[1].sum(axis=1)
    diagram = PhaseDiagram(list(zip(compositions, formation * sizes, strict=True)), verbose=False)
    expected = [f - diagram.decompose(c)[0] / n for c, f, n in zip(compositions, formation, sizes, strict=True)]
    assert energies_above_hull(compositions, formation) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "compositions, formation, expected",
    [
        (["Li", "Si"], [0.0, 0.0], [0, 0]),  # only the ends
        (["Li", "Li2"], [0.2, -0.1], [0.3, 0]),  # one element, below its reference
        (["LiSi"], [0.3], [0.3]),  # nothing below the elements
        (["LiSi"], [-0.3], [0]),
        (["Li3Si", "LiSi", "LiSi3"], [-0.1, -0.2, -0.1], [0, 0, 0]),  # all on two lines
        (["LiSi", "LiSi", "Li2Si2"], [-0.2, -0.2, -0.1], [0, 0, 0.1]),  # twice the same
        (["Li", "LiSi"], [-0.2, -0.1], [0, 0]),  # an element below its reference, an entry on the new line
        (["Li", "LiSi"], [-0.2, -0.05], [0, 0.05]),
        (["LiSi", "Li1Si9999"], [-0.2, -1e-6], [0, 2 * 0.2 / 10000 - 1e-6]),
    ],
)
def test_cases_that_are_degenerate(compositions: list[str], formation: list[float], expected: list[float]) -> None:
    assert energies_above_hull(compositions, np.array(formation)) == pytest.approx(expected, abs=1e-12)


def test_members_have_each_their_own_hull_and_references() -> None:
    compositions, energies = ["LiSi", "Li3Si"], np.array([[-7.2, -7.6], [-11.4, -12.0]])
    references = References(
        {"Li": -2.0, "Si": -5.0}, {"Li": "a", "Si": "b"}, {"Li": np.array([-2.0, -2.1]), "Si": np.array([-5.0, -5.1])}
    )
    formation = member_formation_energies(compositions, energies, references)
    assert formation == pytest.approx(np.array([[-0.1, -0.2], [-0.1, -0.15]]))
    for above, column in zip(energies_above_hull(compositions, formation).T, formation.T, strict=True):
        assert np.array_equal(above, energies_above_hull(compositions, column))
    fixed = member_formation_energies(compositions, energies, {"Li": -2.0, "Si": -5.0})
    assert fixed[:, 0] == pytest.approx([-0.1, -0.1]) and fixed[0, 1] == pytest.approx(-0.3)


def test_references_are_relaxed_crystals() -> None:
    references = reference_energies(EMT(), ["Cu", "Al"])
    assert references.members is None
    assert references.sources["Cu"] == "fcc Cu, relaxed with EMT"
    for symbol in ("Cu", "Al"):

        def energy(side: float, symbol: str = symbol) -> float:
            crystal = bulk(symbol, a=side)
            crystal.calc = EMT()
            return crystal.get_potential_energy()

        lowest = minimize_scalar(energy, bracket=(3.5, 4.1), tol=1e-6).fun
        assert references.energies[symbol] == pytest.approx(lowest, abs=2e-6)


def test_references_that_cannot_be_had() -> None:
    with pytest.raises(DataError, match=r"does not build a crystal of Ga.*give its reference"):
        reference_energies(EMT(), ["Ga"])

    class EnergyOnly(EMT):
        implemented_properties = ("energy", "forces")

    with pytest.raises(CalculatorError, match="no stress"):
        reference_energies(EnergyOnly(), ["Cu"])


def test_the_hull_of_structures_with_known_energies() -> None:
    structures = []
    for formula, energy in (("LiSi", -7.6), ("Li3Si", -12.0), ("Li", -2.0)):
        atoms = Atoms(formula, positions=np.arange(len(Atoms(formula)))[:, None] * [2.5, 0, 0], cell=[12] * 3, pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        structures.append(atoms)
    result = convex_hull(structures, {"Li": -2.0, "Si": -5.0})
    assert result.elements == ("Li", "Si") and result.stable.tolist() == [True, True, True]
    assert result.formation == pytest.approx([-0.3, -0.25, 0.0])
    assert result.above_hull_spread is None and result.references.sources["Li"] == "given"
    assert [atoms.get_potential_energy() for atoms in result.structures] == [-7.6, -12.0, -2.0]
    assert "3 of 3 entries on the hull" in result.summary() and "-5.0000 eV/atom, given" in result.summary()


def test_an_element_below_its_reference_is_worth_a_warning() -> None:
    lithium = bulk("Li")
    lithium.calc = SinglePointCalculator(lithium, energy=-2.1)
    with pytest.warns(WaveScatWarning, match=r"a structure of Li lies 100 meV/atom below the reference \(given\)"):
        result = convex_hull([lithium], {"Li": -2.0})
    assert result.formation == pytest.approx([-0.1]) and result.above_hull == pytest.approx([0])


def test_the_hull_of_a_model_has_spreads(
    small_ensemble: Model, make_structure: Callable[..., Atoms], tmp_path: object
) -> None:
    calculator = WaveScatCalculator(small_ensemble)
    structures = [make_structure(seed) for seed in range(3)]
    before = [atoms.positions.copy() for atoms in structures]
    for atoms in structures:
        atoms.calc = calculator
    result = convex_hull(structures, {"Li": -7.0, "Si": -160.0})
    assert result.energies == pytest.approx([atoms.get_potential_energy() for atoms in structures])
    per_atom = [calculator.get_energy_uncertainty(atoms) / len(atoms) for atoms in structures]
    assert result.formation_spread == pytest.approx(per_atom)  # references without members: of the energy alone
    assert result.above_hull_spread is not None and result.above_hull_spread.shape == (3,)
    assert all(np.array_equal(atoms.positions, old) for atoms, old in zip(structures, before, strict=True))
    path = result.write(str(tmp_path), "hull")
    assert path.with_suffix(".png").stat().st_size > 5000 and '"above_hull_spread"' in path.read_text()


def test_no_structures_and_no_calculators_are_named() -> None:
    with pytest.raises(DataError, match="no structures"):
        convex_hull([])
    with pytest.raises(CalculatorError, match="has no calculator"):
        convex_hull([bulk("Li")])


def test_what_is_no_composition_or_energy_is_named() -> None:
    references = {"Li": -2.0, "Si": -5.0}
    for wrong in ("Li_Si", "Xy3Li", {"Li": -1, "Si": 3}):
        with pytest.raises(DataError, match=r"no formula|no composition"):
            formation_energies([wrong], [-1.0], references)
    with pytest.raises(DataError, match=r"1 compositions and 2 energies"):
        formation_energies(["LiSi"], [-0.1, 0.2], references)
    with pytest.raises(DataError, match="entry 1 is not finite"):
        energies_above_hull(["LiSi", "Li2Si"], np.array([-0.1, np.nan]))
    with pytest.raises(DataError, match="no compositions"):
        energies_above_hull([], np.array([]))
    with pytest.raises(DataError, match=r"Li = a is not that of an element"):
        References.given({"Li": "a"})


def test_stored_results_know_no_references() -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-0.1, forces=np.zeros((4, 3)), stress=np.zeros(6))
    with pytest.raises(CalculatorError, match=r"only stores results.*give references"):
        convex_hull([atoms])
    atoms.calc = SinglePointCalculator(atoms, energy=np.nan)
    with pytest.raises(DataError, match=r"structure 0 \(Cu4\) is nan eV"):
        convex_hull([atoms], {"Cu": 0.0})


def test_calculators_loaded_one_by_one_are_one_model(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    structures = [make_structure(seed) for seed in range(2)]
    references = {"Li": -7.0, "Si": -160.0}
    for atoms in structures:
        atoms.calc = WaveScatCalculator(pickle.loads(pickle.dumps(small_ensemble)))
    apart = convex_hull(structures, references).formation_spread
    for atoms in structures:
        atoms.calc = structures[0].calc
    together = convex_hull(structures, references).formation_spread
    assert apart is not None and apart == pytest.approx(together)


def test_spreads_and_stability_of_entries_above_the_hull(
    small_ensemble: Model, make_structure: Callable[..., Atoms]
) -> None:
    calculator = WaveScatCalculator(small_ensemble)
    low = make_structure(0)
    high = low.copy()
    high.rattle(0.2, seed=1)
    for atoms in (low, high):
        atoms.calc = calculator
    if calculator.get_potential_energy(low) > calculator.get_potential_energy(high):
        low, high = high, low
    members = np.array([calculator.get_member_energies(atoms) for atoms in (low, high)]) / len(low)
    references = {"Li": 0.0, "Si": 0.0}
    hull = convex_hull([low, high], references)
    assert hull.stable.tolist() == [True, False] and hull.above_hull[1] > 0
    above = members[1] - members.min(axis=0)  # the hull of each member
    scale = small_ensemble.calibration.energy_scale
    assert hull.above_hull_spread[1] == pytest.approx(scale * above.std(ddof=1))
    assert hull.formation_spread[1] == pytest.approx(scale * members[1].std(ddof=1))


def test_references_of_members_are_an_atom() -> None:
    spec = ScatteringSpec(
        species=("Si",), wavelets=((2, 0),), scales=(0.0,), beta=0.6,
        families=(Correlations(pair=Bands(count=4, spacing=0.8), atom_maps=Maps(((2, 0),), (0.0,))),),
    )  # fmt: skip
    repulsion = PairRepulsion.from_species(spec.species)
    model = linear_model(spec, spec.keys, np.zeros((3, len(spec.keys))), [[-5.0], [-5.1], [-5.2]], repulsion)
    calculator = WaveScatCalculator(model)
    found = reference_energies(calculator, ["Si"])
    assert np.ptp(found.members["Si"]) == pytest.approx(0.2)
    assert found.members["Si"].mean() == pytest.approx(found.energies["Si"])
