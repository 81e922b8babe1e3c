"""What lies in a study directory: paths, locks, manifest, atomic writes, pending results."""
