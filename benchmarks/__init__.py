"""What geoloom costs, measured: each module is a script that rewrites its own section of docs/benchmarks.md."""
