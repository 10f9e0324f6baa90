"""`python -m ase_wavescat` is the command `wavescat`."""

from __future__ import annotations

from ase_wavescat.cli import main

if __name__ == "__main__":
    main()
