"""Damaged and hostile model files, broken data and odd structures, by the thousand: what became of them.

    python benchmarks/robustness/fuzz.py [--cases N] [--json FILE] [--document FILE ...]

Every case runs in a child process with a gigabyte of memory beyond what the imported package takes and 20 s of
processor time. A model file may be refused by name or, where the damage is without effect, read as it was; one whose
checksum was made to fit may also be read as another model. Broken data may be refused by name or read as frames that
make sense; an odd structure has the results of the plain one, a senseless one is refused by name. Labels in dialects of
extended XYZ are read as they were meant; what one command writes, ASE and the next one read, but for what was told; a
structure is known however it is written down. Anything else is a failure: another error, a crash, a hang, too much
memory, another result.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from common import machine, standard_options, table, update_documents, write_json

from hostile.children import ALLOWED, Case, outcomes
from hostile.model_attacks import AFTERWARDS, ATTACKS
from hostile.structure_attacks import ODD, REFUSED


def cases_of(count: int) -> dict[str, list[Case]]:
    """By kind: named attacks once each, seeds 0 ... count - 1 for the others."""
    named = {
        "model files made with bad intent": [*ATTACKS, *AFTERWARDS],
        "structures, odd": list(ODD),
        "structures, senseless": list(REFUSED),
    }
    return {kind: [(kind, name) for name in names] for kind, names in named.items()} | {
        kind: [(kind, seed) for seed in range(count)] for kind in ALLOWED if kind not in named
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=3000, help="of each kind that is made by chance")
    standard_options(parser, "fuzz")
    chosen = parser.parse_args()
    print(machine(), "\n")
    rows, figures = [], {}
    for kind, cases in cases_of(chosen.cases).items():
        start = time.perf_counter()
        found = Counter(tqdm(outcomes(cases), total=len(cases), desc=kind))
        failed = {outcome: times for outcome, times in found.items() if outcome not in ALLOWED[kind]}
        for outcome, times in failed.items():
            print(f"FAILED {times} x {kind}: {outcome}")
        seconds = time.perf_counter() - start
        figures[kind] = {"cases": len(cases), "seconds": seconds, "failed": failed, **found}
        counts: list[Any] = [found.get(outcome, 0) for outcome in ("refused", "same", "different", "read")]
        rows.append([kind, len(cases), *counts, sum(failed.values())])
    header = ["kind", "cases", "refused by name", "as it was", "another model", "frames with sense", "failures"]
    text = table(header, rows)
    print("\n" + text)
    update_documents(chosen.document, "fuzz", f"{machine()}\n\n{text}")
    write_json(chosen.json, figures)


if __name__ == "__main__":
    main()
