"""The bundled models: found by name from anywhere, sound on the demo's structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ase_wavescat import WaveScatCalculator, load_model
from ase_wavescat.cli import main
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.workflows.demo import shipped_structure


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WAVESCAT_MODELS", raising=False)
    return tmp_path


MODELS = ("lisi.h5", "lisi-fast.h5", "lisi-linear.h5")


@pytest.mark.parametrize("name", MODELS)
def test_they_carry_domain_provenance_and_errors(name: str, elsewhere: Path) -> None:
    model = load_model(name)
    assert model.species == (3, 14)
    assert model.members > 1 and model.domain is not None and model.term(PairRepulsion) is not None
    assert model.provenance["label_source"] and model.provenance["citation"] and model.provenance["licence"]
    metrics = model.provenance["metrics"]
    assert metrics["folds"] == (5 if "linear" in name else 10)
    assert 1 < metrics["energy_mae_mev_per_atom"] <= 12  # a third of the frames are hard: steps of DFT relaxations
    assert 1 < metrics["by_kind"]["md"]["energy_mae_mev_per_atom"] <= 8
    assert 0.01 < metrics["force_mae_ev_per_a"] <= 0.1
    assert {"relaxed", "md", "annealed"} <= set(metrics["by_kind"])
    assert set(metrics["by_composition"]) == {"0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8-1.0"}


@pytest.mark.parametrize("name", MODELS)
def test_energy_forces_and_uncertainties_of_the_shipped_glass(name: str, elsewhere: Path) -> None:
    atoms = shipped_structure()
    atoms.calc = WaveScatCalculator(name)
    assert np.isfinite(atoms.get_potential_energy())
    forces = atoms.get_forces()
    assert np.sqrt((forces**2).mean()) < 0.5
    assert abs(forces.sum(axis=0)).max() < 1e-2
    assert 0 < atoms.calc.get_energy_uncertainty() / len(atoms) < 0.05
    assert 0 < atoms.calc.get_forces_uncertainty().mean() < 0.5


@pytest.mark.parametrize("name", MODELS)
def test_forces_are_the_derivative_of_the_energy(name: str, elsewhere: Path) -> None:
    atoms = shipped_structure()
    calculator = WaveScatCalculator(name, reference_cell=atoms.cell)
    forces = calculator.get_forces(atoms)
    stress = calculator.get_stress(atoms)
    rng = np.random.default_rng(0)
    direction = rng.normal(size=forces.shape)
    step = 2e-4
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * direction
        energies.append(calculator.get_potential_energy(moved))
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope == pytest.approx(
        -np.sum(forces * direction), abs=1e-6 * np.linalg.norm(forces) * np.linalg.norm(direction)
    )
    energies = []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * (1 + sign * step), scale_atoms=True)
        energies.append(calculator.get_potential_energy(strained))
    slope = (energies[0] - energies[1]) / (2 * step)
    assert slope / atoms.get_volume() == pytest.approx(stress[:3].sum(), abs=1e-6)


def test_the_demo_runs_from_anywhere(elsewhere: Path) -> None:
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 0, result.output
    assert "bulk modulus" in result.output
    assert (elsewhere / "wavescat-demo" / "demo.png").stat().st_size > 20_000


@pytest.mark.parametrize("name", MODELS)
def test_their_cards_print(name: str, elsewhere: Path) -> None:
    result = CliRunner().invoke(main, ["info", name])
    assert result.exit_code == 0, result.output
    assert "cross-validated errors" in result.output and "none recorded" not in result.output


@pytest.mark.slow
def test_two_thousand_atoms_are_tiles_of_a_glass() -> None:
    """Large enough for non-uniform FFTs, where finufft is installed, and for the planes of a large grid."""
    glass = shipped_structure()
    tiles = glass.repeat(3)
    calculator = WaveScatCalculator("lisi-linear.h5", threads=2)
    energy, forces = calculator.get_potential_energy(glass), calculator.get_forces(glass)
    assert calculator.get_potential_energy(tiles) == pytest.approx(27 * energy, rel=1e-9)
    np.testing.assert_allclose(calculator.get_forces(tiles), np.tile(forces, (27, 1)), atol=1e-9 * np.abs(forces).max())
