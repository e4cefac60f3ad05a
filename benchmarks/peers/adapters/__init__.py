"""One file a peer: `load` makes it ready to paint, `prepare` puts a checkpoint into the layout that it reads.

They run in the peer's own interpreter, which may have neither overpaint nor torch.
"""
