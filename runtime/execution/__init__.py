"""Runs: batches of requests driven through a scheduler."""
