"""User canonicalisers; each module is found through its entry point."""
