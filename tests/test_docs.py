"""The pages of docs/: their code runs, their tables and pictures agree with the package."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from ase_wavescat import ScatteringSpec, preset, scattering_features
from ase_wavescat.representation import Moduli
from ase_wavescat.representation.families.moduli.features import ModulusFeature
from ase_wavescat.representation.presets import PRESETS
from ase_wavescat.representation.wavelets import Wavelet
from module_files import load_module

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "explanation" / "transform.md").read_text(encoding="utf-8")


def test_the_code_of_the_page_runs_in_order() -> None:
    pytest.importorskip("pandas")
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert names["forces"].shape == (73, 3) and names["stress"].shape == (6,)
    assert 0.5 < names["beta"] < 0.7 and 1 < names["largest"] < 2


def test_the_table_of_presets_has_them_all_with_their_feature_counts() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d+) \|$", PAGE, re.MULTILINE)
    counted = {name: len(make(("Li", "Si")).keys) for name, make in PRESETS.items()}
    assert {name: int(count) for name, count in rows} == counted


def test_every_picture_is_shown_on_a_page_and_small() -> None:
    pages = [page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")]
    shown = {name for page in pages for name in re.findall(r"\]\((?:\.\./)?pictures/([\w-]+\.png)\)", page)}
    assert shown == {path.name for path in (DOCS / "pictures").iterdir()}
    for name in shown:
        assert 5_000 < (DOCS / "pictures" / name).stat().st_size < 150_000


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    return load_module(DOCS / "make_pictures.py")


def test_the_fields_of_the_pictures_are_those_of_the_transform(
    pictures: ModuleType, make_structure: Callable[..., Atoms]
) -> None:
    """Their squared moduli, summed over the grid, are the transform's features of both orders."""
    atoms = make_structure(1, atoms=5)
    first, second = Wavelet(0.0, 3, 1), Wavelet(1.0, 3, 2)
    spec = preset("sinz2020", ("Li", "Si"), tolerance=1e-6, scales=(0.0, 1.0), wavelets=((3, 1), (3, 2)))
    scene = pictures.Scene(atoms, spec, points=80)
    density = scene.density(spec.channel("valence"))
    sigma = scene.modulus(density, first)
    twice = scene.modulus(scene.spectrum(sigma), second)
    volume = atoms.get_volume()
    keys = [ModulusFeature("valence", Moduli().powers[-1], path).key for path in ((first,), (first, second))]
    expected = scattering_features(atoms, spec, keys).values
    assert np.mean(sigma**2) * volume == pytest.approx(expected[0], rel=1e-6)
    assert np.mean(twice**2) * volume == pytest.approx(expected[1], rel=1e-3)  # sigma has kinks


def test_figures_are_drawn(pictures: ModuleType, small_spec: ScatteringSpec, tmp_path: Path) -> None:
    pictures.save(pictures.wavelet_figure(small_spec), tmp_path / "wavelets.png")
    assert (tmp_path / "wavelets.png").read_bytes().startswith(b"\x89PNG")
