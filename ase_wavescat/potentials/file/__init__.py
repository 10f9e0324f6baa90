"""Models as files: one HDF5 file each."""
