"""Record in a model, by fingerprints, the structures that it was fitted to; nothing else of it changes.

    python models/lisi-dft/record_structures.py models/lisi.toml models/lisi-fast.toml

Models trained before there were fingerprints recorded digests of coordinates, which change with the origin, the order
of the atoms and their periodic images. The data of the run file must be what its output was fitted to, by digests.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ase_wavescat import load_model, save_model
from ase_wavescat.ensemble import Ensemble
from ase_wavescat.errors import DataError
from ase_wavescat.training.dataset import Frame
from ase_wavescat.training.fingerprints import Seen, digest, fingerprints
from ase_wavescat.training.provenance import seen_structures
from ase_wavescat.training.run_file import read_run
from ase_wavescat.training.sources import read_sources


def with_fingerprints(ensemble: Ensemble, frames: Sequence[Frame]) -> Ensemble:
    """The model with the frames' fingerprints in place of its digests; DataError where it was fitted to others."""
    digests = seen_structures(ensemble).digests
    if digests != frozenset(map(digest, frames)):
        raise DataError(f"these {len(frames)} frames are not what the model was fitted to, or it has no digests left")
    record = Seen(fingerprints(frames)).to_record()
    return replace(ensemble, provenance={**ensemble.provenance, "structures": record})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run files; their outputs are rewritten")
    for run in map(read_run, parser.parse_args().runs):
        save_model(run.output, with_fingerprints(load_model(run.output), read_sources(run.data)))
        print(f"{run.output}: fingerprints of its structures recorded")


if __name__ == "__main__":
    main()
