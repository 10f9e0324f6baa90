"""Training of networks, by torch: the twin of the compiled network, its losses, stages and checkpoints.

Raises:
    WaveScatError: where torch is not installed; everything else works without.
"""

from ase_wavescat.system.errors import WaveScatError

try:
    import torch  # noqa: F401
except ImportError:
    raise WaveScatError(
        'training networks needs torch, which is not installed; pip install "ase_wavescat[learn]"'
    ) from None
