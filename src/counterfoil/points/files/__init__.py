"""Partners' encrypted files: collected, verified, stored, credited in batches, and answered."""
