"""The small trained bundle that ships with the package."""
