"""Property stores; each module is found through its entry point."""
