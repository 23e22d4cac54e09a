"""The mechanisms that come with sasl-core; each module is found through its entry point."""
