"""Writes the OpenAPI document for any configuration: `python -m app.api.openapi > docs/openapi.json`."""

import json
import sys

from app.api.openapi import openapi_document


def committed_text() -> str:
    """Give the document as it is committed."""
    return json.dumps(openapi_document(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(committed_text())
