"""Model files that are damaged or made with bad intent: what is done to a good one, and what became of it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ase_wavescat.potentials.calibration import Calibration
from ase_wavescat.potentials.environments import Environments, EnvironmentVectors
from ase_wavescat.potentials.file.model_file import load_model, save_model
from ase_wavescat.potentials.model import Model, linear_model
from ase_wavescat.potentials.repulsion import PairRepulsion
from ase_wavescat.representation import Bands, Correlations, Maps, ScatteringSpec
from ase_wavescat.system.errors import ModelFileError
from linear_models import linear, parts, wide_ranges
from wide_domain import wide_domain_of

SECRET = 1234.5
"""A number in other files, which no loaded model may show."""

WAVELETS = ((2, 0), (2, 1))
LINEAR = "potential/terms/0"


def good_model() -> Model:
    """Li-Si, every part of a file present."""
    family = Correlations(
        pair=Bands(4, 0.8),
        atom_maps=Maps(WAVELETS, (0.0, 1.0)),
        grid_maps=Maps(WAVELETS, (1.0,)),
        four_body=Bands(1, 1.0),
    )
    spec = ScatteringSpec(("Li", "Si"), WAVELETS, (0.0, 1.0), 0.6, (family,))
    rng = np.random.default_rng(7)
    keys = spec.keys[::3]
    count = len(keys)
    return linear_model(
        spec=spec,
        keys=keys,
        weights=rng.normal(scale=1e-3, size=(3, count)),
        species_energies=rng.normal(size=(3, 2)),
        repulsion=PairRepulsion.from_species(spec.species),
        ranges=wide_ranges(count),
        domain=replace(wide_domain_of(), environments=wide_environments(), typical_spread=0.01, periodic_only=True),
        calibration=Calibration(1.5, 2.0),
        provenance={"label_source": "random numbers", "metrics": {"folds": 5}},
    )


def wide_environments() -> Environments:
    vectors = EnvironmentVectors((3, 14), 1.5)
    length = len(vectors)
    return Environments(vectors, np.zeros((2, length)), np.tile(np.eye(length), (2, 1, 1)), 1e9)


def same(one: Model, other: Model) -> bool:
    """Whether two models are equal in every part that a file holds."""
    if one.domain is None or other.domain is None:
        return False
    environments = one.domain.environments, other.domain.environments
    if None in environments:
        return False
    try:
        ours, theirs = parts(one), parts(other)
    except AssertionError:
        return False
    arrays = [(ours[name], theirs[name]) for name in ("weights", "species_energies")]
    ranges = ours["ranges"], theirs["ranges"]
    if None in ranges:
        return False
    arrays += [tuple(getattr(part, name) for part in ranges) for name in ("minimum", "maximum", "mean", "std")]
    arrays += [tuple(getattr(part, name) for part in environments) for name in ("mean", "whitening", "limit")]
    return (
        all(np.array_equal(a, b) for a, b in arrays)
        and all(ours[name] == theirs[name] for name in ("spec", "keys", "repulsion", "calibration", "provenance"))
        and environments[0].vectors == environments[1].vectors
        and all(
            getattr(one.domain, name) == getattr(other.domain, name)
            for name in ("fractions", "closest", "typical_spread", "periodic_only")
        )
    )


def outcome_of(path: Path, good: Model) -> str:
    """ "refused", "same" or "different"; what is raised but ModelFileError goes on."""
    try:
        loaded = load_model(path)
    except ModelFileError as error:
        return "refused" if len(str(error)) < 2000 else f"message of {len(str(error))} characters"
    return "same" if same(loaded, good) else "different"


# ---------------------------------------------------------------- damaged bytes


def damaged(content: bytes, seed: int) -> bytes:
    """Bits flipped, bytes overwritten, blocks zeroed, moved, removed or inserted, the end cut off or added to."""
    rng = random.Random(seed)
    data = bytearray(content)

    def block() -> tuple[int, int]:
        start = rng.randrange(len(data))
        return start, min(len(data), start + rng.choice([1, 4, 8, 64, 512]))

    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        kind = rng.choice(["bit"] * 4 + ["byte"] * 4 + ["zero", "ones", "copy", "remove", "insert", "cut", "extend"])
        start, stop = block()
        if kind == "bit":
            data[start] ^= 1 << rng.randrange(8)
        elif kind == "byte":
            data[start] = rng.randrange(256)
        elif kind in ("zero", "ones"):
            data[start:stop] = bytes([0 if kind == "zero" else 255]) * (stop - start)
        elif kind == "copy":
            other, end = block()
            data[start : start + end - other] = data[other:end]
        elif kind == "remove":
            del data[start:stop]
        elif kind == "insert":
            data[start:start] = rng.randbytes(stop - start)
        elif kind == "cut":
            del data[max(1, start) :]
        else:
            data += rng.randbytes(stop - start)
    return bytes(data)


def unsealed(path: Path) -> bytes:
    """A file's bytes without the checksum at its end: opening it for changes takes that away."""
    with h5py.File(path, "r+"):
        pass
    return path.read_bytes()


def sealed(content: bytes) -> bytes:
    """As one who means harm would: damaged, with a checksum that fits."""
    return content + b"\nwavescat sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n"


# ---------------------------------------------------------------- parts made with bad intent

Attack = Callable[[h5py.File, Path], None]
"""Changes an open file; the folder holds it, and other files that it may point to."""


def _replace(name: str, **options: Any) -> Attack:
    def change(file: h5py.File, folder: Path) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def _group(name: str) -> Attack:
    def change(file: h5py.File, folder: Path) -> None:
        del file[name]
        file.create_group(name)

    return change


def _link(name: str, link: object) -> Attack:
    def change(file: h5py.File, folder: Path) -> None:
        if name in file:
            del file[name]
        file[name] = link

    return change


def _rename(old: str, new: str) -> Attack:
    return lambda file, folder: file.move(old, new)


def _attribute(holder: str, name: str, value: object) -> Attack:
    return lambda file, folder: file[holder].attrs.__setitem__(name, value)


def _poison(name: str, value: float) -> Attack:
    def change(file: h5py.File, folder: Path) -> None:
        values = file[name][()]
        values.reshape(-1)[-1] = value
        file[name][...] = values

    return change


def _rows(name: str, *rows: tuple[Any, ...]) -> Attack:
    """A table with rows of the writer's own types."""

    def change(file: h5py.File, folder: Path) -> None:
        dtype = file[name].dtype
        del file[name]
        file.create_dataset(name, data=np.array(list(rows), dtype=dtype))

    return change


def _text(name: str, text: str | Callable[[], str]) -> Attack:
    return lambda file, folder: _replace(name, data=text if isinstance(text, str) else text())(file, folder)


def _spec(**changes: Any) -> Attack:
    def change(file: h5py.File, folder: Path) -> None:
        data = json.loads(file[f"{LINEAR}/spec"][()])
        for key, value in changes.items():
            place = data["families"][0] if key in ("pair", "five_body") else data
            place[key] = value
        _replace(f"{LINEAR}/spec", data=json.dumps(data))(file, folder)

    return change


def _other_file(folder: Path) -> Path:
    """A file with every part of a model, in which all numbers are the secret one."""
    path = folder / "other.h5"
    with h5py.File(path, "w") as other:
        other["weights"] = np.full((3, len(linear(good_model()).keys)), SECRET)
        other["closest"] = np.array([(3, 3, SECRET)], dtype=[("first", "i4"), ("second", "i4"), ("distance", "f8")])
        other["repulsion"] = np.array([(3, 3, 9.0)], dtype=[("first", "i4"), ("second", "i4"), ("cutoff", "f8")])
        other["domain/mean"] = [SECRET]
    (folder / "other.bin").write_bytes(np.full(10_000, SECRET).tobytes())
    return path


def _outside(name: str, target: str) -> Attack:
    return lambda file, folder: _link(name, h5py.ExternalLink(_other_file(folder), target))(file, folder)


def _external_storage(file: h5py.File, folder: Path) -> None:
    _other_file(folder)
    shape = file["potential/terms/0/weights"].shape
    place = [(str(folder / "other.bin"), 0, 8 * int(np.prod(shape)))]
    _replace("potential/terms/0/weights", shape=shape, dtype="f8", external=place)(file, folder)


def _virtual(file: h5py.File, folder: Path) -> None:
    other, shape = _other_file(folder), file["potential/terms/0/weights"].shape
    layout = h5py.VirtualLayout(shape, "f8")
    layout[:] = h5py.VirtualSource(str(other), "weights", shape)
    del file["potential/terms/0/weights"]
    file.create_virtual_dataset("potential/terms/0/weights", layout)


def _bomb(file: h5py.File, folder: Path) -> None:
    """Two gigabytes of zeros in two megabytes of gzip."""
    chunk, chunks = 2**22, 64
    del file["potential/terms/0/weights"]
    bomb = file.create_dataset(
        "potential/terms/0/weights",
        shape=(chunks, chunk),
        dtype="f8",
        chunks=(1, chunk),
        compression="gzip",
        shuffle=True,
    )
    packed = zlib.compress(bytes(8 * chunk))
    for row in range(chunks):
        bomb.id.write_direct_chunk((row, 0), packed)


def _plugin(file: h5py.File, folder: Path) -> None:
    """A filter that HDF5 would look for among its plug-ins."""
    shape = file["potential/terms/0/weights"].shape
    del file["potential/terms/0/weights"]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk(shape)
    creation.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (0,))
    space = h5py.h5s.create_simple(shape)
    dataset = h5py.h5d.create(file["potential/terms/0"].id, b"weights", h5py.h5t.IEEE_F64LE, space, creation)
    dataset.write_direct_chunk((0, 0), np.zeros(shape).tobytes())


def _many_keys_of_one_text(file: h5py.File, folder: Path) -> None:
    """Every row of the features points to the same long text."""
    dtype = file[f"{LINEAR}/features"].dtype
    del file[f"{LINEAR}/features"]
    rows = [("k" * 2**22, "label"), *[("k", "label")] * 20_000]
    table = file.create_dataset(f"{LINEAR}/features", data=np.array(rows, dtype=dtype))
    size, start = table.id.get_type().get_size(), table.id.get_offset()
    file.flush()
    with Path(file.filename).open("r+b") as raw:
        raw.seek(start)
        row = raw.read(size)
        raw.seek(start)
        raw.write(row * len(rows))


def _chunks_at_one_place(file: h5py.File, folder: Path) -> None:
    """A table of 2^17 rows, stored a thousandth of them: as many bytes are promised as the file cannot hold."""
    del file["potential/terms/0/weights"]
    weights = file.create_dataset("potential/terms/0/weights", shape=(2**17, 2**10), dtype="f8", chunks=(128, 2**10))
    weights[:128] = 1.0


def _many_links(file: h5py.File, folder: Path) -> None:
    for number in range(5000):
        file[f"\x1b[31m{number}"] = h5py.SoftLink("/provenance")


def _features_one_fewer(file: h5py.File, folder: Path) -> None:
    rows = file[f"{LINEAR}/features"][:-1]
    del file[f"{LINEAR}/features"]
    file.create_dataset(f"{LINEAR}/features", data=rows)


def _no_text_keys(file: h5py.File, folder: Path) -> None:
    rows = np.zeros(len(file[f"{LINEAR}/features"]), dtype=[("key", "f8"), ("label", "f8")])
    _replace(f"{LINEAR}/features", data=rows)(file, folder)


def _wide_table(file: h5py.File, folder: Path) -> None:
    rows = np.zeros(3, dtype=[("first", "i4", (2,)), ("second", "i4"), ("cutoff", "f8")])
    _replace("potential/terms/2/cutoffs", data=rows)(file, folder)


def _weights_type(dtype: Any) -> Attack:
    def change(file: h5py.File, folder: Path) -> None:
        shape = file["potential/terms/0/weights"].shape
        _replace("potential/terms/0/weights", shape=shape, dtype=dtype)(file, folder)

    return change


def _named_type(file: h5py.File, folder: Path) -> None:
    del file["potential/terms/0/weights"]
    file["potential/terms/0/weights"] = np.dtype("f8")


def _sum_of_itself(file: h5py.File, folder: Path) -> None:
    """A thousand terms, each of which is the sum."""
    for number in range(3, 1000):
        file[f"potential/terms/{number}"] = file["potential"]


def _swap(one: str, other: str) -> Attack:
    def change(file: h5py.File, folder: Path) -> None:
        file.move(one, "kept")
        file.move(other, one)
        file.move("kept", other)

    return change


DEEP = 100_000
ATTACKS: dict[str, Attack] = {
    "weights of 10^12, never stored": _replace(
        "potential/terms/0/weights", shape=(10**6, 10**6), dtype="f8", chunks=(64, 64)
    ),
    "weights of 10^18, never stored": _replace(
        "potential/terms/0/weights", shape=(10**9, 10**9), dtype="f8", chunks=(64, 64)
    ),
    "features of 10^12, never stored": lambda file, folder: _replace(
        f"{LINEAR}/features", shape=(10**12,), dtype=file[f"{LINEAR}/features"].dtype, chunks=(64,)
    )(file, folder),
    "weights never stored": lambda file, folder: _replace(
        "potential/terms/0/weights", shape=file["potential/terms/0/weights"].shape, dtype="f8"
    )(file, folder),
    "spec never stored": lambda file, folder: _replace(f"{LINEAR}/spec", shape=(), dtype=file[f"{LINEAR}/spec"].dtype)(
        file, folder
    ),
    "weights stored in part": _chunks_at_one_place,
    "compressed bomb": _bomb,
    "compressed by lzf": lambda file, folder: _replace(
        "potential/terms/0/weights", data=file["potential/terms/0/weights"][()], compression="lzf"
    )(file, folder),
    "filter of a plug-in": _plugin,
    "keys that share one long text": _many_keys_of_one_text,
    "weights in another file, external storage": _external_storage,
    "weights in another file, virtual": _virtual,
    "weights in another file, link": _outside("potential/terms/0/weights", "/weights"),
    "repulsion in another file, link": _outside("potential/terms/2/cutoffs", "/repulsion"),
    "domain in another file, link": _outside("domain", "/domain"),
    "closest pairs in another file, link": _outside("domain/closest", "/closest"),
    "potential in a cycle of soft links": _link("potential", h5py.SoftLink("/potential")),
    "domain in a cycle of soft links": _link("domain", h5py.SoftLink("/domain")),
    "repulsion by a soft link": _link("potential/terms/2/cutoffs", h5py.SoftLink("/domain/closest")),
    "a cycle of hard links": lambda file, folder: file.__setitem__("potential/terms/0/again", file["/"]),
    "weights are the root": lambda file, folder: _link("potential/terms/0/weights", file["/"])(file, folder),
    "an unknown soft link": _link("notes", h5py.SoftLink("/nowhere")),
    "five thousand links": _many_links,
    "weights are a group": _group("potential/terms/0/weights"),
    "a potential is a dataset": _replace("potential/terms/0", data=[1.0]),
    "calibration is a dataset": _replace("calibration", data=[1.0]),
    "weights are a named type": _named_type,
    "renamed weights": _rename("potential/terms/0/weights", "potential/terms/0/Weights"),
    "renamed domain": _rename("domain", "Domain"),
    "means and weights swapped": _swap("potential/terms/0/ranges/mean", "potential/terms/0/weights"),
    "a sum of itself": _sum_of_itself,
    "a sum of nothing": _group("potential/terms"),
    "terms are a dataset": _replace("potential/terms", data=[1.0]),
    "a term missing": lambda file, folder: file.__delitem__("potential/terms/1"),
    "a term of another kind": _attribute("potential/terms/1", "kind", "linear"),
    "a kind that is none": _attribute("potential", "kind", "__import__('os')"),
    "a kind of arrays": _attribute("potential", "kind", np.array([b"sum"] * 2)),
    "a kind of bytes": _attribute("potential", "kind", np.bytes_(b"sum\xff")),
    "no kind": lambda file, folder: file["potential"].attrs.__delitem__("kind"),
    "members of other numbers": _replace("potential/terms/1/energies", data=np.zeros((2, 2))),
    "energies of no elements": _replace("potential/terms/1/species", data=[3.0, 500.0]),
    "energies of half an element": _replace("potential/terms/1/species", data=[3.0, 14.5]),
    "energies of fewer species": _replace("potential/terms/1/species", data=[3.0]),
    "environments of another order": _replace("domain/environments/species", data=[14.0, 3.0]),
    "complex weights": _weights_type("c16"),
    "weights of references": _weights_type(h5py.ref_dtype),
    "weights of region references": _weights_type(h5py.regionref_dtype),
    "weights of variable length": _weights_type(h5py.vlen_dtype("f8")),
    "opaque weights": _weights_type("V8"),
    "weights of truth values": _weights_type("?"),
    "weights of texts": _weights_type("S8"),
    "compound weights": _weights_type([("real", "f8"), ("more", "f8")]),
    "weights of arrays": _weights_type(np.dtype(("f8", (2,)))),
    "weights without values": _replace("potential/terms/0/weights", data=h5py.Empty("f8")),
    "weights without rows": _replace("potential/terms/0/weights", shape=(0, 5), dtype="f8"),
    "weights of one dimension": _replace("potential/terms/0/weights", data=np.zeros(5)),
    "one key fewer": _features_one_fewer,
    "keys of numbers": _no_text_keys,
    "keys that are no UTF-8": lambda file, folder: _rows(f"{LINEAR}/features", (b"\xff\xfe", b"label"))(file, folder),
    "a key named twice": _rows(f"{LINEAR}/features", *[("pair:Li-Li:0", "a")] * 3),
    "a table of arrays": _wide_table,
    "a pair of atoms named twice": _rows("potential/terms/2/cutoffs", (3, 14, 2.0), (14, 3, 2.5)),
    "a closest pair named twice": _rows("domain/closest", (3, 14, 0.1), (14, 3, 0.2)),
    "a fraction named twice": _rows("domain/fractions", (3, 0.0, 0.5), (3, 0.0, 1.0)),
    "a repulsion across the world": _rows("potential/terms/2/cutoffs", (3, 14, 1e9)),
    "a closest pair across the world": _rows("domain/closest", (3, 14, 1e9)),
    "a closest pair of no elements": _rows("domain/closest", (500, 14, 0.1)),
    "a closest pair below the elements": _rows("domain/closest", (-1, 14, 0.1)),
    "a fraction of no element": _rows("domain/fractions", (500, 0.9, 0.1)),
    "NaN among the weights": _poison("potential/terms/0/weights", np.nan),
    "infinity among the energies": _poison("potential/terms/1/energies", -np.inf),
    "environments by a soft link": _link("domain/environments", h5py.SoftLink("/potential")),
    "environments in another file, link": _outside("domain/environments", "/domain"),
    "environments are a dataset": _replace("domain/environments", data=[1.0]),
    "environments of one species": _replace("domain/environments/mean", data=np.zeros((1, 14))),
    "environments without a limit": lambda file, folder: file["domain/environments"].attrs.__delitem__("limit"),
    "environments of no width": _attribute("domain/environments", "width", 0.0),
    "environments across the world": _attribute("domain/environments", "width", 1e9),
    "NaN in the environments": _poison("domain/environments/whitening", np.nan),
    "whitening of 10^12, never stored": _replace(
        "domain/environments/whitening", shape=(2, 10**6, 10**6), dtype="f8", chunks=(1, 64, 64)
    ),
    "a typical spread of text": _attribute("domain", "typical_spread", "0.01"),
    "a typical spread of nothing": _attribute("domain", "typical_spread", 0.0),
    "periodic as text": _attribute("domain", "periodic_only", "False"),
    "NaN in the domain": _poison("potential/terms/0/ranges/std", np.nan),
    "calibration of arrays": _attribute("calibration", "energy_scale", np.ones(3)),
    "calibration as text": _attribute("calibration", "energy_scale", "1.0"),
    "calibration is NaN": _attribute("calibration", "force_scale", np.nan),
    "format of arrays": _attribute("/", "format", np.array([b"ase-wavescat-model"] * 2)),
    "format of a megabyte": _attribute("/", "format", "x" * 60_000),
    "format of references": lambda file, folder: _attribute("/", "format", file[f"{LINEAR}/spec"].ref)(file, folder),
    "version of arrays": _attribute("/", "version", np.array([2, 2])),
    "version is true": _attribute("/", "version", np.True_),
    "version is NaN": _attribute("/", "version", np.nan),
    "version without a value": _attribute("/", "version", h5py.Empty("i8")),
    "spec as a table of texts": _replace(f"{LINEAR}/spec", data=np.array([b"{}", b"{}"])),
    "spec of 10^5 brackets": _text(f"{LINEAR}/spec", "[" * DEEP),
    "provenance of 10^5 objects": _text("provenance", lambda: '{"a":' * DEEP + "1" + "}" * DEEP),
    "provenance of 20 MB": _text("provenance", lambda: '{"a": "' + "x" * (20 * 2**20) + '"}'),
    "provenance with a key twice": _text("provenance", '{"a": 1, "a": 2}'),
    "provenance that is no UTF-8": _replace("provenance", data=np.bytes_(b'{"a": "\xff"}')),
    "provenance with NaN": _text("provenance", '{"a": NaN}'),
    "numbers of 10^5 digits": _text("provenance", '{"a": ' + "9" * DEEP + "}"),
    "spec with a key twice": lambda file, folder: _text(
        f"{LINEAR}/spec", file[f"{LINEAR}/spec"][()].decode().replace("{", '{"beta": 0.7, ', 1)
    )(file, folder),
    "10^9 bands": _spec(pair={"count": 10**9, "spacing": 0.1}),
    "half a band": _spec(pair={"count": 3.5, "spacing": 0.8}),
    "bands for ever": _spec(pair={"count": float("inf"), "spacing": 0.8}),
    "10^4 scales": _spec(scales=[0.01 * j for j in range(10**4)]),
    "scales of the universe": _spec(scales=[0.0, 1.0, 1e4]),
    "wavelets of n = 10^6": _spec(wavelets=[[2, 0], [2, 1], [10**6, 0]]),
    "10^4 wavelets": _spec(wavelets=[[n, l] for n in range(1, 150) for l in range(n)]),
    "wavelets wider than cells": _spec(beta=1e300),
    "wavelets narrower than nuclei": _spec(beta=1e-300),
    "tolerance of nothing": _spec(tolerance=1e-300),
    "five bodies of everything": _spec(
        five_body={"wavelets": [[2, 0], [2, 1]], "scales": [0.0, 1.0], "span": 1e308},
        species=["H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne", "Na", "Mg", "Al", "Si", "P", "S", "Cl"],
    ),
    "infinite atomic number": _spec(species=[float("inf")]),
    "species as text": _spec(species="LiSi"),
    "no families": _spec(families=None),
}
AFTERWARDS: dict[str, Callable[[Path], None]] = {
    "a file of a terabyte": lambda path: os.truncate(path, 2**40),
    "a signature and nothing else": lambda path: os.truncate(path, 8),
    "zeros": lambda path: path.write_bytes(bytes(4096)) and None,
    "a pickle": lambda path: path.write_bytes(b"\x80\x04cos\nsystem\n(S'exit 7'\ntR.") and None,
    "a zip archive": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)) and None,
}
"""What is done to the file itself."""


def attacked(name: str, good: bytes, folder: Path) -> Path:
    """The file in the folder after an attack."""
    path = folder / "model.h5"
    path.write_bytes(good)
    if name in AFTERWARDS:
        AFTERWARDS[name](path)
        return path
    with h5py.File(path, "r+") as file:
        ATTACKS[name](file, folder)
    return path


def good_bytes(folder: Path) -> tuple[Model, bytes]:
    """The good model and the bytes of its file."""
    good = good_model()
    save_model(folder / "good.h5", good)
    return good, (folder / "good.h5").read_bytes()
