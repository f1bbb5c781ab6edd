"""What runs after what: the Prefect flows and the command line."""
