"""A whole training run in one TOML file: what to read, which features, how to fit, where to write."""

from __future__ import annotations

import collections.abc
import dataclasses
import glob
import json
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from ase_wavescat.potentials.model import Model
from ase_wavescat.potentials.network.specification import NetworkSpecification
from ase_wavescat.representation.presets import preset
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.specification_file import read_spec
from ase_wavescat.system.errors import DataError, SpecError, WaveScatError, did_you_mean
from ase_wavescat.training.data.sources import Source
from ase_wavescat.training.fitting import train
from ase_wavescat.training.network.plan import NetworkPlan, StagePlan
from ase_wavescat.training.network.settings import NetworkSettings
from ase_wavescat.training.settings import Settings, refuse_unused

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_OF_SOURCES = ("group_key",)  # settings that each source has for itself
_EXAMPLE = ("H",)  # species to try a preset's fields with
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}


class RunFileError(WaveScatError, ValueError):
    """A run file that cannot be understood; the message names the file, the key and what is expected."""


@dataclass(frozen=True)
class Features:
    """Which features: a preset, with fields of it replaced, or a specification.

    Attributes:
        preset: Its name, made for the species found in the data (default: correlations, or the features of the prior).
        spec: File of a specification (`wavescat suggest --json`), in place of a preset.
        overrides: Fields of the preset's specification or of its family, as `ScatteringSpec.to_dict` writes them; False
            leaves a part of the family (four_body, say) out.
    """

    preset: str | None = None
    spec: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def of_species(self) -> ScatteringSpec | str | Callable[[Sequence[int]], ScatteringSpec] | None:
        """What `train` takes: a specification, the name of a preset, or what makes one for the species of the data."""
        if self.spec is not None:
            return read_spec(self.spec)
        return self.specification if self.overrides else self.preset

    def specification(self, species: Sequence[int] | Sequence[str]) -> ScatteringSpec:
        """The preset for these species, with its fields replaced.

        Raises:
            SpecError: For fields that it does not have, and values that make no sense.
        """
        plain = preset(self.preset or "correlations", species).to_dict()
        for name, value in self.overrides.items():
            part = plain if name in plain else plain["families"][0]
            if value is False:
                part.pop(name, None)
            else:
                part[name] = value
        try:
            return ScatteringSpec.from_dict(plain)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            named = ", ".join(f"{name} = {value!r}" for name, value in self.overrides.items())
            raise SpecError(f"no features with {named}: {error}") from error


@dataclass(frozen=True)
class Run:
    """A training run; the fields are the keys of a run file.

    Attributes:
        output: Model file to write.
        data: Where the labels are, the first source's name is what the model predicts.
        features: Section of what the features are.
        fit: Section of how to fit.
        network: Section of what a network is to be and how it is trained, for the method network.
        store: Folder that keeps the feature rows (default: beside the output).
        workers: Processes (default: all cores).
        repulsion: Whether a short-range pair repulsion is subtracted.
        prior: Model towards whose weights the fit is drawn, see `train`.
        provenance: What the model card says of the data: label_source, citation, licence ...

    Raises:
        RunFileError: For less than one worker.
    """

    output: Path
    data: tuple[Source, ...]
    features: Features = field(default_factory=Features)
    fit: Settings = field(default_factory=Settings)
    network: NetworkPlan | None = None
    store: Path | None = None
    workers: int | None = None
    repulsion: bool = True
    prior: Path | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise RunFileError(f"workers are at least 1, got {self.workers}; leave the key out for all cores")

    def train(self, progress: bool = True, overwrite: bool = True) -> Model:
        """Train the model and write it.

        Args:
            progress: Show what is going on.
            overwrite: Replace a model that is there, see `train`.

        Returns:
            The model; raises what `ase_wavescat.training.train` raises.
        """
        return train(
            list(self.data),
            self.output,
            self.features.of_species(),
            store=self.store,
            repulsion=self.repulsion,
            prior=self.prior,
            network=self.network,
            workers=self.workers,
            provenance=self.provenance,
            overwrite=overwrite,
            progress=progress,
            **{name: value for name, value in self.fit.used.items() if name not in _OF_SOURCES},
        )


def read_run(path: str | Path) -> Run:
    """The training run that a TOML file describes; its paths are relative to the file.

    Keys at the top are the fields of `Run`, each `[[data]]` has those of `Source`, `[features]` those of `Features` but
    for `overrides`, which stand there by their own names, `[fit]` those of `Settings`, `[network]` those of
    `NetworkSpecification` and `NetworkSettings`, and epochs and learning_rate or `[[network.stages]]`, which have those
    of `StagePlan`; `[provenance]` what one likes.
    docs/how-to/training.md has an example.

    Raises:
        RunFileError: Names the file and the section, for unknown keys (with the nearest known one), values of the wrong
            type or out of range, and what is no TOML.
        FileNotFoundError: Where there is no such file.
    """
    path = Path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8, or not TOML
        raise RunFileError(f"{path} is not a TOML file: {error}") from error
    values = _typed(Run, table, str(path), raw=tuple(_SECTIONS))
    for name in ("output", "store", "prior"):
        if name in values:
            values[name] = _beside(path, values[name])
    for name, section in _SECTIONS.items():
        if name in table:
            values[name] = section(table[name], path)
    run: Run = _made(Run, values, str(path))
    return run


def _sources(given: Any, path: Path) -> tuple[Source, ...]:
    if not isinstance(given, list) or not given:
        raise RunFileError(f"{path}: data must be one or more sections [[data]], got {given!r}")
    sources = []
    for number, table in enumerate(given, 1):
        where = f"{path} [[data]] {number}"
        values = _typed(Source, table, where)
        if "files" in values:
            files = values["files"]
            values["files"] = tuple(_beside(path, file) for file in ([files] if isinstance(files, str) else files))
        sources.append(_made(Source, values, where))
    return tuple(sources)


def _features(given: Any, path: Path) -> Features:
    where = f"{path} [features]"
    if not isinstance(given, dict):
        raise RunFileError(f"{where} must be a section of keys, got {given!r}")
    own = _typed(Features, {key: given[key] for key in ("preset", "spec") if key in given}, where)
    overrides = {key: value for key, value in given.items() if key not in own}
    if "spec" in own:
        if len(given) > 1:
            others = ", ".join(key for key in given if key != "spec")
            raise RunFileError(f"{where}: spec says all about the features; remove {others}, or spec")
        return Features(spec=_beside(path, own["spec"]))
    try:
        plain = preset(own.get("preset", "correlations"), _EXAMPLE)
        known = [f.name for part in (plain, plain.families[0]) for f in dataclasses.fields(part) if f.init]
        _refuse_unknown(overrides, ["preset", *(name for name in known if name not in ("species", "families"))], where)
        # channels name the species, which only the data tell
        anyhow = {name: value for name, value in overrides.items() if name != "channels"}
        Features(overrides=anyhow, **own).specification(_EXAMPLE)
    except SpecError as error:
        raise RunFileError(f"{where}: {error}") from error
    return Features(overrides=overrides, **own)


def _settings(given: Any, path: Path) -> Settings:
    where = f"{path} [fit]"
    values = _typed(Settings, given, where, left_out=_OF_SOURCES)
    try:
        refuse_unused(values.get("method", "ridge"), values)
    except ValueError as error:
        raise RunFileError(f"{where}: {error}") from error
    settings: Settings = _made(Settings, values, where)
    return settings


def _network(given: Any, path: Path) -> NetworkPlan:
    where = f"{path} [network]"
    if not isinstance(given, dict):
        raise RunFileError(f"{where} must be a section of keys, got {given!r}")
    _refuse_unknown(given, [*_OF_NETWORKS, *_OF_TRAINING, "stages", *_OF_ONE_STAGE, "heads"], where)
    specification, settings, one = ({key: given[key] for key in own if key in given} for own in (
        _OF_NETWORKS, _OF_TRAINING, _OF_ONE_STAGE))  # fmt: skip
    stages = given.get("stages", [one])
    if "stages" in given and one:
        raise RunFileError(f"{where}: {', '.join(one)} stand in [[network.stages]] where there are any")
    if not isinstance(stages, list):
        raise RunFileError(f"{where}: stages must be sections [[network.stages]], got {stages!r}")
    try:
        return NetworkPlan(
            specification,
            _made(NetworkSettings, _typed(NetworkSettings, settings, where), where),
            tuple(_made(StagePlan, _typed(StagePlan, stage, where), where) for stage in stages),
            **({"heads": given["heads"]} if "heads" in given else {}),
        )
    except (DataError, SpecError) as error:
        raise RunFileError(f"{where}: {error}") from error


def _provenance(given: Any, path: Path) -> dict[str, Any]:
    values: dict[str, Any] = _typed(Run, {"provenance": given}, str(path))["provenance"]
    try:
        json.dumps(values)  # as the model file keeps it
    except TypeError as error:
        raise RunFileError(f"{path} [provenance]: {error}; put dates and times in quotes") from error
    return values


_SECTIONS: dict[str, Callable[[Any, Path], Any]] = {
    "data": _sources, "features": _features, "fit": _settings, "network": _network, "provenance": _provenance,
}  # fmt: skip


def _keys(cls: type, left_out: Sequence[str] = ()) -> list[str]:
    return [f.name for f in dataclasses.fields(cls) if f.name not in left_out]


_OF_NETWORKS = _keys(NetworkSpecification, ("species",))
_OF_TRAINING = _keys(NetworkSettings, ("seed",))
_OF_ONE_STAGE = ("epochs", "learning_rate")
_KEYS_OF = {
    "to the top of the file": _keys(Run, tuple(_SECTIONS)), "into [[data]]": _keys(Source),
    "into [fit]": _keys(Settings, _OF_SOURCES), "into [network]": [*_OF_NETWORKS, *_OF_TRAINING],
}  # fmt: skip


def _typed(cls: type, table: Any, where: str, raw: Sequence[str] = (), left_out: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a table that has the fields of a dataclass as keys, of the fields' types.

    raw: keys that are known, but not returned; left_out: fields that are no keys.
    """
    if not isinstance(table, dict):
        raise RunFileError(f"{where} must be a section of keys, got {table!r}")
    _refuse_unknown(table, _keys(cls, left_out), where)
    hints = get_type_hints(cls)
    values = {}
    for key, value in table.items():
        if key in raw:
            continue
        try:
            values[key] = _convert(value, hints[key])
        except TypeError:
            raise RunFileError(f"{where}: {key} must be {_words(hints[key])}, got {value!r}") from None
    return values


def _refuse_unknown(keys: Iterable[str], known: Sequence[str], where: str) -> None:
    for key in keys:
        if key not in known:
            homes = [home for home, own in _KEYS_OF.items() if key in own]
            hint = f"; it belongs {homes[0]}" if homes else did_you_mean(key, known)
            raise RunFileError(f"{where}: unknown key {key!r}{hint}; known are {', '.join(known)}")


def _made(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """The dataclass of these values; what it refuses is said with the place in the file."""
    required = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    missing = [name for name in required if name not in values]
    if missing:
        raise RunFileError(f"{where} lacks {', '.join(missing)}")
    try:
        return cls(**values)
    except ValueError as error:
        raise RunFileError(f"{where}: {error}") from error


def _convert(value: Any, hint: Any) -> Any:
    """A value of TOML as the type asks for it; TypeError where it is something else."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _first(value, [option for option in arguments if option is not type(None)])
    if origin in (tuple, collections.abc.Sequence) and isinstance(value, list):
        return tuple(_convert(part, arguments[0]) for part in value)  # all elements are of one type
    if origin is collections.abc.Mapping and isinstance(value, dict):
        return {key: _convert(part, arguments[1]) for key, part in value.items()}
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is hint:  # a bool is no int here
        return value
    raise TypeError(f"{value!r} is not {_words(hint)}")


def _first(value: Any, options: Sequence[Any]) -> Any:
    for option in options:
        try:
            return _convert(value, option)
        except TypeError:
            continue
    raise TypeError(f"{value!r} is none of {options}")


def _words(hint: Any) -> str:
    """What a type asks for, for messages."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(option) for option in arguments if option is not type(None)))
    if origin in (tuple, collections.abc.Sequence):
        return f"a list of {_words(arguments[0])}"
    if origin is collections.abc.Mapping:
        return f"a table of {_words(arguments[1])} by name"
    return _WORDS.get(hint, "anything")


def _beside(path: Path, name: str | Path) -> Path:
    """A path of the run file, relative to its folder; the folder's own name is no glob."""
    folder = str(path.parent)
    return Path(glob.escape(folder) if glob.has_magic(str(name)) else folder, name)
