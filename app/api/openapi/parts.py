"""The parts that operations are made of."""

from collections.abc import Sequence

from app.api.openapi.shapes import Schema, ref


def operation(
    name: str,
    tag: str,
    summary: str,
    *,
    answers: Schema,
    problems: Sequence[int] = (),
    parameters: Sequence[Schema] = (),
) -> Schema:
    """Describe an operation: its answers, and the problems that it may answer by status."""
    told = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in problems}
    shown: Schema = {"operationId": name, "tags": [tag], "summary": summary}
    if parameters:
        shown["parameters"] = list(parameters)
    return {**shown, "responses": {**answers, **told}}


def json_body(schema: str, description: str, headers: Schema | None = None) -> Schema:
    """Describe an answer in JSON."""
    answer: Schema = {
        "description": description,
        "content": {"application/json": {"schema": ref(schema)}},
    }
    return {**answer, "headers": headers} if headers else answer


def query(name: str, schema: Schema, description: str) -> Schema:
    """Describe a query parameter."""
    return {"name": name, "in": "query", "schema": schema, "description": description}
