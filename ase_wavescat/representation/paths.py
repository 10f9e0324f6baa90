"""What the families of the scattering tree share: paths of wavelets, their texts, powers and channels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from fractions import Fraction
from typing import Any

from ase.data import chemical_symbols

from ase_wavescat.representation.checks import is_sequence, require, whole
from ase_wavescat.representation.specification import ScatteringSpec
from ase_wavescat.representation.wavelets import Wavelet
from ase_wavescat.system.errors import SpecError

WaveletPath = tuple[Wavelet, ...]

_LARGEST_POWER = 32


def scattering_paths(
    spec: ScatteringSpec, orders: Sequence[int], follows: Callable[[Wavelet, Wavelet], bool]
) -> list[WaveletPath]:
    """The wavelets of every map of a specification, none for the zeroth order.

    Args:
        follows: whether a second wavelet may come after a first.
    """
    wavelets = [Wavelet(j, n, l) for j in spec.scales for n, l in spec.wavelets]
    paths: list[WaveletPath] = [()] if 0 in orders else []
    if 1 in orders:
        paths += [(w,) for w in wavelets]
    if 2 in orders:
        paths += [(a, b) for a in wavelets for b in wavelets if follows(a, b)]
    return paths


def most_maps(spec: ScatteringSpec, orders: Sequence[int]) -> int:
    """How many maps there can be at most, without making any: paths times channels."""
    wavelets = len(spec.wavelets) * len(spec.scales)
    return sum(wavelets**order for order in orders) * len(spec.channels)


def coarse_enough(first: Wavelet, second: Wavelet, step: float) -> bool:
    """j2 - j1 >= step."""
    return second.scale - first.scale >= step - 1e-9


def path_key(channel: str, power: Fraction, path: WaveletPath) -> str:
    """`channel:q:path`."""
    return f"{channel}:{power}:" + ">".join(w.key for w in path)


def parse_path_key(text: str) -> tuple[str, Fraction, WaveletPath]:
    """Inverse of `path_key`; ValueError for anything else."""
    channel, power, path = text.rsplit(":", 2)
    return channel, Fraction(power), tuple(Wavelet.parse(p) for p in path.split(">")) if path else ()


def path_properties(family: str, channel: str, power: Fraction, path: WaveletPath) -> dict[str, Hashable]:
    """What can be said of a map raised to a power, see `Feature.properties`; the first titles name the family."""
    found: dict[str, Hashable] = {
        f"{family}: order": len(path),
        f"{family}: channel": channel,
        f"{family}: power q": power,
    }
    if len(path) == 1:
        found["first order: scale j"] = path[0].scale
        found["first order: (n, l)"] = (path[0].n, path[0].l)
    if len(path) == 2:
        first, second = path
        found["second order: scales (j1, j2)"] = (first.scale, second.scale)
        found["second order: (n1, l1)"] = (first.n, first.l)
        found["second order: (n2, l2)"] = (second.n, second.l)
    return found


def exponents(values: Any, least: Fraction, reason: str) -> tuple[Fraction, ...]:
    """Powers q, each once, from numbers, fractions or their texts ("4/3").

    Args:
        least: the smallest allowed.
        reason: why smaller ones are not, for the message.

    Raises:
        SpecError: for anything else.
    """
    require(is_sequence(values) and len(values) > 0, f"powers q are a sequence of numbers, got {values!r}")
    try:
        powers = tuple(Fraction(q).limit_denominator(1000) for q in values)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        raise SpecError(f"powers q must be numbers or fractions such as '4/3', got {values!r}") from None
    small = [str(q) for q in powers if q < least]
    require(not small, f"powers q must be at least {least}, got {', '.join(small)}: {reason}")
    require(max(powers) <= _LARGEST_POWER, f"powers q are at most {_LARGEST_POWER}, got {max(powers)}")
    require(len(set(powers)) == len(powers), f"powers q must be given once each, got {powers}")
    return powers


def scattering_orders(values: Any) -> tuple[int, ...]:
    """Orders among 0, 1, 2, each once; SpecError for anything else."""
    require(is_sequence(values), f"orders are a sequence of 0, 1, 2, got {values!r}")
    orders = tuple(whole(order, "an order") for order in values)
    require(0 < len(orders) == len(set(orders)), f"orders must be given once each, got {orders}")
    require(set(orders) <= {0, 1, 2}, f"orders are among 0, 1, 2, got {orders}")
    return orders


def check_channels(spec: ScatteringSpec, family: str) -> None:
    """Raise SpecError unless there are channels, each with a weight for every species."""
    require(len(spec.channels) > 0, f"the {family} family needs at least one channel")
    for name, weights in spec.channels:
        missing = set(spec.species) - {z for z, _ in weights}
        require(not missing, f"channel {name!r} has no weight for {sorted(chemical_symbols[z] for z in missing)}")
