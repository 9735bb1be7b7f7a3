"""Pools: who makes the shards of a run."""
