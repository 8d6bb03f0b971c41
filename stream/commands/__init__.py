"""The `inbeam` command: one file per subcommand."""
