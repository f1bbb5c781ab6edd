"""What one step does: open, call, record, return a small reference."""
