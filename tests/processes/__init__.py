"""Several real processes on one PostgreSQL and one chain: who takes what, and what a zombie may do."""
