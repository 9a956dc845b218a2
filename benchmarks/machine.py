"""What the figures were measured on."""

import os
import platform
import sqlite3
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = (
    "synergy7-execution",
    "aiohttp",
    "fastapi",
    "pydantic",
    "solders",
    "sqlalchemy",
    "uvicorn",
    "uvloop",
)


def describe() -> Mapping[str, Any]:
    """Give processor, memory, system, load and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 10**6,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": [round(each, 2) for each in os.getloadavg()],
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    """Give the processor's name where the system tells it."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
