"""What the package needs of its surroundings: files, locks, processes, threads, pictures, errors."""
