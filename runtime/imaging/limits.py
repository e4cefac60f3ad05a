"""How large pictures may be; told apart from what reads them, which costs a second to import."""

MAX_SIDE = 16384
"""The most pixels a side of a picture that is worked on."""

MAX_PIXELS = 2**26
"""The most pixels that are decoded, where a reader sets no other limit: 8192 x 8192, 200 MB as RGB."""
