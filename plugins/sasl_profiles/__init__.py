"""How a protocol carries SASL; each module is found through its entry point."""
