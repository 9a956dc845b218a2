"""What a command says when it cannot do its work."""


class ShellError(Exception):
    """A command cannot go on: one line `CODE: what; what to do` on stderr, exit code 2."""

    def __init__(self, code: str, what: str, todo: str) -> None:
        super().__init__(f"{code}: {what}" + (f"; {todo}" if todo else ""))
        self.code = code
