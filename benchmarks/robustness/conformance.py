"""The conformance kit on a model: what `wavescat check` measures, as a table.

    python benchmarks/robustness/conformance.py [--model lisi.h5] [--calls 10000] [--json FILE] [--document FILE ...]

Leaves with status 1 where a check fails, after writing the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from ase_wavescat.testing import Conformance, check_calculator, model_subject

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import machine, standard_options, table, update_documents, write_json


def report(model: str, result: Conformance, seconds: float) -> str:
    """The table, what the checks note, how long it took the processor, and the checks that took most of it."""
    rows = table(["check", "quantity", "figure", "limit", "verdict"], result.rows())
    notes = "".join(f"\n- {note}" for note in result.notes())
    slowest = sorted(result.outcomes, key=lambda outcome: outcome.seconds, reverse=True)[:4]
    total = sum(outcome.seconds for outcome in result.outcomes)
    shares = ", ".join(f"{outcome.check} {outcome.seconds / total:.0%}" for outcome in slowest)
    took = f"`wavescat check {model}`, {seconds / 60:.1f} minutes of one core ({shares})"
    return f"{machine()}\n\n{took}:\n\n{rows}\n{notes}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lisi.h5")
    parser.add_argument("--calls", type=int, default=2500, help="over which the memory is watched")
    standard_options(parser, "conformance")
    chosen = parser.parse_args()
    start = time.process_time()
    result = check_calculator(model_subject(chosen.model, calls=chosen.calls, progress=True))
    seconds = time.process_time() - start
    text = report(chosen.model, result, seconds)
    print(text)
    write_json(chosen.json, {"model": chosen.model, "seconds": seconds, **json.loads(result.to_json())})
    update_documents(chosen.document, "conformance", text)
    if not result.passed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
