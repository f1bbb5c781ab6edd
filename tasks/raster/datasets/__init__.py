"""Published data sets: how each is laid out, what its masks say, and whose it is."""
