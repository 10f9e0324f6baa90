"""Wavelet-scattering interatomic potentials for ASE.

Names are imported when they are first used, so that `import ase_wavescat` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.calculator import WaveScatCalculator as WaveScatCalculator
    from ase_wavescat.domain import Domain as Domain
    from ase_wavescat.ensemble import Calibration as Calibration
    from ase_wavescat.ensemble import Ensemble as Ensemble
    from ase_wavescat.errors import WaveScatError as WaveScatError
    from ase_wavescat.errors import WaveScatWarning as WaveScatWarning
    from ase_wavescat.evaluation.assessment import Assessment as Assessment
    from ase_wavescat.evaluation.assessment import evaluate as evaluate
    from ase_wavescat.labelled_features import ScatteringFeatures as ScatteringFeatures
    from ase_wavescat.labelled_features import scattering_features as scattering_features
    from ase_wavescat.model_file import find_model as find_model
    from ase_wavescat.model_file import load_model as load_model
    from ase_wavescat.model_file import save_model as save_model
    from ase_wavescat.repulsion import PairRepulsion as PairRepulsion
    from ase_wavescat.scattering.presets import preset as preset
    from ase_wavescat.scattering.spec import ScatteringSpec as ScatteringSpec

__version__ = "0.1.0"

_MODULE_OF = {
    "WaveScatCalculator": "calculator",
    "Calibration": "ensemble",
    "Domain": "domain",
    "Ensemble": "ensemble",
    "Assessment": "evaluation.assessment",
    "evaluate": "evaluation.assessment",
    "WaveScatError": "errors",
    "WaveScatWarning": "errors",
    "ScatteringFeatures": "labelled_features",
    "scattering_features": "labelled_features",
    "find_model": "model_file",
    "load_model": "model_file",
    "save_model": "model_file",
    "PairRepulsion": "repulsion",
    "preset": "scattering.presets",
    "ScatteringSpec": "scattering.spec",
}

__all__ = ["__version__", *_MODULE_OF]

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
