"""How a unit of work gives an answer and takes back all that it wrote."""


class Undo(Exception):
    """Ends a unit of work: its writes are undone, and `answer` is what its caller gets."""

    def __init__(self, answer: object) -> None:
        """Keep the answer."""
        super().__init__(answer)
        self.answer = answer
