"""Wavelet-scattering interatomic potentials for ASE.

Names are imported when they are first used, so that `import ase_wavescat` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ase_wavescat.system.lazy import lazy_names

if TYPE_CHECKING:
    from ase_wavescat.calculator import WaveScatCalculator as WaveScatCalculator
    from ase_wavescat.evaluation.assessment import Assessment as Assessment
    from ase_wavescat.evaluation.assessment import evaluate as evaluate
    from ase_wavescat.potentials.ase_potential import ASEPotential as ASEPotential
    from ase_wavescat.potentials.calibration import Calibration as Calibration
    from ase_wavescat.potentials.committee import Committee as Committee
    from ase_wavescat.potentials.composition import AtomEnergies as AtomEnergies
    from ase_wavescat.potentials.domain import Domain as Domain
    from ase_wavescat.potentials.file.model_file import load_model as load_model
    from ase_wavescat.potentials.file.model_file import save_model as save_model
    from ase_wavescat.potentials.file.search import find_model as find_model
    from ase_wavescat.potentials.linear import FeatureRanges as FeatureRanges
    from ase_wavescat.potentials.linear import LinearPotential as LinearPotential
    from ase_wavescat.potentials.model import Model as Model
    from ase_wavescat.potentials.model import linear_model as linear_model
    from ase_wavescat.potentials.network.potential import NetworkPotential as NetworkPotential
    from ase_wavescat.potentials.network.specification import NetworkSpecification as NetworkSpecification
    from ase_wavescat.potentials.network.weights import NetworkWeights as NetworkWeights
    from ase_wavescat.potentials.repulsion import PairRepulsion as PairRepulsion
    from ase_wavescat.potentials.sum import PotentialSum as PotentialSum
    from ase_wavescat.representation.labelled_features import ScatteringFeatures as ScatteringFeatures
    from ase_wavescat.representation.labelled_features import scattering_features as scattering_features
    from ase_wavescat.representation.presets import preset as preset
    from ase_wavescat.representation.specification import ScatteringSpec as ScatteringSpec
    from ase_wavescat.structure.structure import Structure as Structure
    from ase_wavescat.system.atomic_write import FileWriteError as FileWriteError
    from ase_wavescat.system.errors import CalculatorError as CalculatorError
    from ase_wavescat.system.errors import DataError as DataError
    from ase_wavescat.system.errors import ModelFileError as ModelFileError
    from ase_wavescat.system.errors import ModelNotFoundError as ModelNotFoundError
    from ase_wavescat.system.errors import PathError as PathError
    from ase_wavescat.system.errors import SpecError as SpecError
    from ase_wavescat.system.errors import StructureError as StructureError
    from ase_wavescat.system.errors import WaveScatError as WaveScatError
    from ase_wavescat.system.errors import WaveScatWarning as WaveScatWarning

__version__ = "0.1.0"

_MODULE_OF = {
    "WaveScatCalculator": "calculator",
    "ASEPotential": "potentials.ase_potential",
    "AtomEnergies": "potentials.composition",
    "Calibration": "potentials.calibration",
    "Committee": "potentials.committee",
    "Domain": "potentials.domain",
    "FeatureRanges": "potentials.linear",
    "LinearPotential": "potentials.linear",
    "Model": "potentials.model",
    "linear_model": "potentials.model",
    "NetworkPotential": "potentials.network.potential",
    "NetworkSpecification": "potentials.network.specification",
    "NetworkWeights": "potentials.network.weights",
    "PotentialSum": "potentials.sum",
    "Structure": "structure.structure",
    "Assessment": "evaluation.assessment",
    "evaluate": "evaluation.assessment",
    "CalculatorError": "system.errors",
    "DataError": "system.errors",
    "FileWriteError": "system.atomic_write",
    "ModelFileError": "system.errors",
    "ModelNotFoundError": "system.errors",
    "PathError": "system.errors",
    "SpecError": "system.errors",
    "StructureError": "system.errors",
    "WaveScatError": "system.errors",
    "WaveScatWarning": "system.errors",
    "ScatteringFeatures": "representation.labelled_features",
    "scattering_features": "representation.labelled_features",
    "find_model": "potentials.file.search",
    "load_model": "potentials.file.model_file",
    "save_model": "potentials.file.model_file",
    "PairRepulsion": "potentials.repulsion",
    "preset": "representation.presets",
    "ScatteringSpec": "representation.specification",
}

__all__ = ["__version__", *_MODULE_OF]

__getattr__, __dir__ = lazy_names(__name__, _MODULE_OF)
