"""The nodes that ship with the package, a file an idea: `standard()` has them all."""
