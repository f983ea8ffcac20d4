"""Actors: read a batch, decide by the rules, keep in the stores, pass on. One per queue, of the same name."""
