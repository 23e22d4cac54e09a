"""The `sasl` command; its subcommands are found through their entry points."""
