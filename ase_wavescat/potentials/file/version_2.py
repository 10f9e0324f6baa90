"""Models of version 2: one linear ensemble, its parts at the top of the file.

/spec /features /members/weights /baseline/species_energies /baseline/repulsion /calibration /provenance
/domain   feature ranges beside fractions, closest and environments
"""

from __future__ import annotations

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.domain import Domain
from ase_wavescat.potentials.environments import Environments, EnvironmentVectors
from ase_wavescat.potentials.file.storage import Reader
from ase_wavescat.potentials.linear import STATISTICS, FeatureRanges
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation.specification import ScatteringSpec


def read_version_2(reader: Reader) -> Model:
    """The model of a file of version 2."""
    reader.expect({"spec", "features", "members", "baseline", "calibration", "provenance"}, {"domain"})
    members, baseline, calibration = (reader.group(name) for name in ("members", "baseline", "calibration"))
    members.expect({"weights"})
    baseline.expect({"species_energies"}, {"repulsion"})
    calibration.expect(set())
    spec = ScatteringSpec.from_dict(reader.json("spec"))
    part = reader.group("domain") if "domain" in reader else None
    domain = None if part is None else _domain(part, spec.species)
    return linear_model(
        spec=spec,
        keys=reader.keys("features"),
        weights=members.numbers("weights"),
        species_energies=baseline.numbers("species_energies"),
        repulsion=PairRepulsion(baseline.pairs("repulsion", "cutoff")) if "repulsion" in baseline else None,
        ranges=None if part is None else FeatureRanges.restore(part),
        domain=domain,
        calibration=Calibration(calibration.number("energy_scale"), calibration.number("force_scale")),
        provenance=reader.json("provenance"),
    )


def _domain(reader: Reader, species: tuple[int, ...]) -> Domain:
    reader.expect({"fractions", "closest", *STATISTICS}, {"environments"})
    return Domain(
        fractions=reader.fractions("fractions"),
        closest=reader.pairs("closest", "distance"),
        environments=_environments(reader.group("environments"), species) if "environments" in reader else None,
        typical_spread=reader.optional_number("typical_spread"),
        periodic_only=reader.flag("periodic_only"),
    )


def _environments(reader: Reader, species: tuple[int, ...]) -> Environments:
    reader.expect({"mean", "whitening"})
    vectors = EnvironmentVectors(species, reader.number("width"))
    return Environments(vectors, reader.numbers("mean"), reader.numbers("whitening"), reader.number("limit"))
