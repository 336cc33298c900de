"""Parts of `spanloom.compat.lionherd`, one noun per file."""
