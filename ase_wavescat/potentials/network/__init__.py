"""Learned point scattering: fields at the atoms with learned channels, their invariants, and small networks on them."""
