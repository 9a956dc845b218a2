"""The only code that speaks SQL: orders, attempts and events (database 1) and metrics (database 2)."""
