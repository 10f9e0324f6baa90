"""First- and second-order scattering at the atoms."""
