"""What people see: the terminal's tables and progress, the pages about features. Nothing is computed here."""
