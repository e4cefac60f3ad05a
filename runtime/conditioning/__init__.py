"""Prompts to conditioning: parsed, encoded, weighted."""
