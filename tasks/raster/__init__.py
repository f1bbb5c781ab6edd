"""Arrays and geometry, pure: no Prefect, no torch."""
