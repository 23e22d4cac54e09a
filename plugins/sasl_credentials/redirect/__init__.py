"""How a browser comes back: a listener on the loopback that hears one answer and says thanks."""
