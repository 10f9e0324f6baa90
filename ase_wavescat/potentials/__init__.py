"""From features to energies: potentials, what they have seen, their files."""
