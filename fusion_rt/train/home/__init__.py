"""The network home-s: from simulated homes to a model package."""
