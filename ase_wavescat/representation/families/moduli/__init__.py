"""First- and second-order scattering moduli."""
