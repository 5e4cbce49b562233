"""What people see: tables and progress in the terminal. Nothing is computed here."""
