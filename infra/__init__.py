"""Where it runs and where bytes lie: settings, storage, clusters, devices, weights."""
