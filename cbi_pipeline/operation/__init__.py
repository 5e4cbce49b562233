"""What looks after a project beside its runs: backup and restore, limits on what is kept, the machine's service."""
