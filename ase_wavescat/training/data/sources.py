"""Label sources: structures labelled in one way, with their weights and their kind of energy."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from ase_wavescat.io.structures import Paths, files_of, named
from ase_wavescat.system.errors import DataError, did_you_mean, warn
from ase_wavescat.training.data.duplicates import copies
from ase_wavescat.training.data.frames import Frame, Virial, frames_of
from ase_wavescat.training.data.magnitudes import warn_of_magnitudes

TOTAL, FORMATION = "total", "formation"
_SAME_ENERGY = 1e-4  # eV/atom; labels of one structure that differ by more were not made in one way


@dataclass(frozen=True)
class Source:
    """Files labelled in one way.

    Attributes:
        files: Files, folders and globs.
        name: Of the label source; the first source's name is that of what the model predicts.
        group_key: Info key of frames that belong together; "none": every frame its own group.
        weight: Of the squared errors of all frames, above 0.
        config_type_weights: By config_type, multiplied on; 0 leaves these frames out.
        energies: "total" or "formation".
        references: Energies of the elements, eV an atom by symbol, for formation energies: these are turned into
            totals, E = E_f + sum over species of n_z E_z. Without, formation energies stay what they are, and so does
            what the model predicts. For total energies none are needed: the fit has an energy for each species.
        zero: Name of the source whose zero of energy these labels share (default: their own, which the sources of one
            name have in common), for labels that differ by noise and not by method: meshes, cutoffs. Labels with the
            zero of the first source are those that the prior's strength is chosen by, and errors and spreads are judged
            by.
        virial: Info key of virials to read in place of stresses.
        virial_sign: "-" where stress = -virial / volume, "+" where stress = virial / volume.

    Raises:
        DataError: For weights, energies and references that make no sense.
    """

    files: Paths
    name: str = "labels"
    group_key: str = "group"
    weight: float = 1.0
    config_type_weights: Mapping[str, float] = field(default_factory=dict)
    energies: str = TOTAL
    references: Mapping[str, float] = field(default_factory=dict)
    zero: str | None = None
    virial: str | None = None
    virial_sign: str | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise DataError("a label source needs a name that is not empty")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise DataError(f"the weight of source {self.name!r} must be above 0, got {self.weight}; leave it out if 0")
        for kind, weight in self.config_type_weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise DataError(
                    f"the weight of config_type {kind!r} in source {self.name!r} must be at least 0 (which leaves its"
                    f" frames out), got {weight}"
                )
        if self.energies not in (TOTAL, FORMATION):
            close = did_you_mean(self.energies, (TOTAL, FORMATION))
            raise DataError(
                f"energies of source {self.name!r} are {TOTAL!r} or {FORMATION!r}, not {self.energies!r}{close}"
            )
        if self.references and self.energies == TOTAL:
            raise DataError(
                f"source {self.name!r} has references but total energies; leave them out (the fit finds an energy for"
                f" each species), or set energies = {FORMATION!r} if its energies are relative to these elements"
            )
        for symbol, energy in self.references.items():
            if symbol not in chemical_symbols[1:]:
                close = did_you_mean(symbol, chemical_symbols[1:])
                raise DataError(f"references of source {self.name!r} name an unknown element {symbol!r}{close}")
            if not math.isfinite(energy):
                raise DataError(f"the reference of {symbol} in source {self.name!r} is not finite: {energy}")

        if (self.virial is None) != (self.virial_sign is None):
            raise DataError(
                f"source {self.name!r} needs both virial (a key) and virial_sign: '-' where stress = -virial / volume,"
                " '+' where stress = virial / volume"
            )
        self.virials()

    def virials(self) -> Virial | None:
        """Where virials are and their sign; None where stresses are read. DataError for another sign."""
        return None if self.virial is None or self.virial_sign is None else Virial(self.virial, self.virial_sign)

    def paths(self) -> list[Path]:
        """The files, each once; DataError as `io.structures.files_of`."""
        return files_of(self.files)


def read_sources(sources: Sequence[Source]) -> list[Frame]:
    """The frames of all sources, in order, with their weights, source names and energies.

    A file that one source names twice (by itself and by a folder, say) is read once; in two sources it is refused.

    Raises:
        DataError: As `read_frames`, and for a file in two sources, sources of one name that do not share a zero of
            energy, config types that no frame has, elements without a reference, and a source left without frames.

    Warns:
        WaveScatWarning: Of structures that are there more than once, and of labels whose size gives away another unit.
    """
    if not sources:
        raise DataError("there are no label sources; name at least one")
    _check_zeros(sources)
    names = dict(named(_distinct_files(sources)))
    frames: list[Frame] = []
    for source in sources:
        key, virial = source.group_key, source.virials()
        read = [frame for file in source.paths() for frame in frames_of(file, key, names[file], virial)]
        warn_of_magnitudes(read, source.name)
        frames += _weighted(source, _with_totals(source, read))
    _warn_of_duplicates(frames)
    return frames


def _listed(source: Source) -> str:
    files = [source.files] if isinstance(source.files, (str, Path)) else source.files
    return ", ".join(map(str, files))


def _check_zeros(sources: Sequence[Source]) -> None:
    zeros: dict[str, set[str]] = defaultdict(set)
    for source in sources:
        zeros[source.name].add(_zero(source))
    for name, several in zeros.items():
        if len(several) > 1:
            found = ", ".join(map(repr, sorted(several)))
            raise DataError(f"the sources named {name!r} have several zeros of energy: {found}; give all of them one")
    own = sorted(name for name, zero in zeros.items() if zero == {name})
    formations: dict[str, bool] = {}
    for source in sources:
        zero, formation = _zero(source), source.energies == FORMATION and not source.references
        if zero not in own:
            raise DataError(
                f"the zero of source {source.name!r} is that of {zero!r}, which is no source with a zero of its"
                f" own{did_you_mean(zero, own)}; there are {', '.join(map(repr, own)) or 'none'}"
            )
        if formations.setdefault(zero, formation) != formation:
            raise DataError(
                f"sources with the zero of {zero!r} mix total and formation energies without references, which"
                " have different zeros; give references, or give them different names"
            )


def _zero(source: Source) -> str:
    return source.zero or source.name


def _distinct_files(sources: Sequence[Source]) -> list[Path]:
    """The files of all sources, as each source's `paths` gives them."""
    owners: dict[Path, Source] = {}
    files = []
    for source in sources:
        for file in source.paths():
            owner = owners.setdefault(file.resolve(), source)
            if owner is not source:
                raise DataError(
                    f"{file} is in two sources, {owner.name!r} (files {_listed(owner)}) and {source.name!r} (files"
                    f" {_listed(source)}); name it in one"
                )
            files.append(file)
    return files


def _weighted(source: Source, frames: Sequence[Frame]) -> list[Frame]:
    """The frames with the source's name and their weights, less those of weight 0."""
    kinds = sorted({frame.config_type for frame in frames})
    for kind in source.config_type_weights:
        if kind not in kinds:
            raise DataError(
                f"no frame of source {source.name!r} (files {_listed(source)}) has the config_type {kind!r}, which has"
                f" a weight{did_you_mean(kind, kinds)}; there are {', '.join(map(repr, kinds))}"
            )
    weights = {kind: source.weight * source.config_type_weights.get(kind, 1.0) for kind in kinds}
    if not any(weights.values()):
        raise DataError(f"all config types of source {source.name!r} have the weight 0; leave the source out")
    return [
        replace(frame, weight=weights[frame.config_type], source=source.name, zero=_zero(source))
        for frame in frames
        if weights[frame.config_type] > 0
    ]


def _with_totals(source: Source, frames: Sequence[Frame]) -> list[Frame]:
    """Formation energies plus those of the elements, where these are given."""
    if not source.references:
        return list(frames)
    references = {atomic_numbers[symbol]: energy for symbol, energy in source.references.items()}
    totals = []
    for frame in frames:
        missing = sorted(set(frame.numbers.tolist()) - set(references))
        if missing:
            raise DataError(
                f"{frame.name} holds {', '.join(chemical_symbols[z] for z in missing)}, for which source"
                f" {source.name!r} has no reference; add the energy of that element (eV an atom)"
            )
        species = sorted(references)
        totals.append(
            replace(frame, energy=frame.energy + float(frame.count(species) @ [references[z] for z in species]))
        )
    return totals


def _warn_of_duplicates(frames: Sequence[Frame]) -> None:
    """Structures that are there more than once: in several groups, or with other labels in one source, they mislead."""
    repeated = copies(frames)
    within = [own for same in repeated for own in _by_source(same) if len(own) > 1]
    differing = [same for same in within if _spread(same) > _SAME_ENERGY]
    across = [same for same in repeated if len({frame.group for frame in same}) > 1]
    if differing:
        worst = max(differing, key=_spread)
        _warn(
            f"{_structures(differing)} in one label source with different energies, {worst[0].name} and {worst[1].name}"
            f" by {1e3 * _spread(worst):.3g} meV/atom; labels made in another way (code, settings) belong in a source"
            " of another name"
        )
    if across:
        _warn(
            f"{_structures(across)} in different groups, such as {across[0][0].name} and {across[0][1].name}: held-out"
            " errors will look too good; leave copies out, or give them one group"
        )
    elif within and not differing:
        _warn(f"{_structures(within)}, such as {within[0][0].name}, and will weigh so much more; leave copies out")


def _by_source(frames: Sequence[Frame]) -> list[list[Frame]]:
    return [[frame for frame in frames if frame.source == name] for name in dict.fromkeys(f.source for f in frames)]


def _warn(text: str) -> None:
    warn(text, stacklevel=4)


def _structures(repeated: Sequence[Sequence[Frame]]) -> str:
    return f"{len(repeated)} structure{' is' if len(repeated) == 1 else 's are'} there more than once"


def _spread(same: Sequence[Frame]) -> float:
    """Largest difference of the energies, eV/atom."""
    return float(np.ptp([frame.energy / len(frame) for frame in same]))
