from alembic import context
from app.database.migration_env import run

run(context, "metrics")
