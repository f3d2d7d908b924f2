"""The commands: one click command per file, gathered by jobs.main."""
