"""Password methods: plugins named in `pwcheck_method` (entry-point group `sasl_core.pwcheck`)."""
