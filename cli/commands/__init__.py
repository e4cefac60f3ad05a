"""The commands, a file each: a function that works, and `add`, which makes its parser."""
