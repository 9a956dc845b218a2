"""What is measured: Prometheus figures of this process, and a row for each execution, from events."""
