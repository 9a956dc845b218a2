"""The only code that speaks SQL: orders, attempts and events (database 1) and metrics (database 2)."""

from app.database.metrics import MetricsDatabase, open_metrics_database
from app.database.migrate import Migrated, migrate
from app.database.orders import SqlStore, open_store

__all__ = [
    "MetricsDatabase",
    "Migrated",
    "SqlStore",
    "migrate",
    "open_metrics_database",
    "open_store",
]
