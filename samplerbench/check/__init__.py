"""Tests whether a sampler does what it claims, on data whose ε is known exactly."""
