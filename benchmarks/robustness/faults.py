"""Featurisation, training, labelling and screening killed at random moments and resumed: is the outcome the same?

    python benchmarks/robustness/faults.py [WORK ...] [--kills N] [--seed N] [--json FILE] [--document FILE ...]

Each work runs undisturbed once. Then it is killed (SIGKILL for all of its processes) and started again, at moments
spread over its whole length by chance (a fifth of them while it starts), until so many kills have landed. Every run
that came to its end is compared with the undisturbed one to the bit: all arrays and attributes of rows and models, all
labels, all rows of a screening's database, its ranking and structures. Works that are not named keep their figures in
the JSON file.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from common import machine, standard_options, table, update_documents, write_json

from faults.killing import Ordeal
from faults.works import WORKS

HEADER = [
    "work", "structures", "undisturbed, s", "kills", "before, among, after the structures", "finished runs",
    "identical", "most temporary files at once", "left over",
]  # fmt: skip


def tried(name: str, kills: int, seed: int) -> dict[str, Any]:
    """The figures of one work."""
    with tempfile.TemporaryDirectory() as place, tqdm(total=kills, desc=name, unit="kill") as bar:
        ordeal = Ordeal(WORKS[name], WORKS[name].structures, Path(place))
        runs = []
        for done in ordeal.kill(kills, seed):
            runs.append(asdict(done))
            bar.update(len(done.kills))
            for problem in done.different + done.leftovers:
                bar.write(f"{name}: {problem}")
    return {
        "structures": WORKS[name].structures,
        "seconds_undisturbed": ordeal.undisturbed.seconds,
        "parts_compared": len(ordeal.undisturbed.outcome),
        "runs": runs,
    }


def row(name: str, figures: dict[str, Any]) -> list[Any]:
    runs, structures = figures["runs"], figures["structures"]
    kills = [kill for run in runs for kill in run["kills"]]
    before = sum(kill["parts"] == 0 for kill in kills)
    after = sum(kill["parts"] == structures for kill in kills)
    return [
        name, structures, f"{figures['seconds_undisturbed']:.1f}", len(kills),
        f"{before}, {len(kills) - before - after}, {after}", len(runs), sum(not run["different"] for run in runs),
        max((kill["remains"] for kill in kills), default=0), sum(len(run["leftovers"]) for run in runs),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("works", nargs="*", choices=[*WORKS, []], metavar="WORK", help=f"of {', '.join(WORKS)}")
    parser.add_argument("--kills", type=int, default=20, help="of each work")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    standard_options(parser, "faults")
    chosen = parser.parse_args()
    print(machine(), "\n")
    figures: dict[str, Any] = json.loads(chosen.json.read_text())["works"] if chosen.json.exists() else {}
    for name in chosen.works or WORKS:
        figures[name] = tried(name, chosen.kills, chosen.seed)
        figures = {known: figures[known] for known in WORKS if known in figures}
        write_json(chosen.json, {"seed": chosen.seed, "works": figures})
    text = table(HEADER, [row(name, done) for name, done in figures.items()])
    print("\n" + text)
    update_documents(chosen.document, "faults", f"{machine()}\n\n{text}")


if __name__ == "__main__":
    main()
