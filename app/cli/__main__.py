"""`python -m app.cli` is `synergy7`."""

from app.cli import main

if __name__ == "__main__":
    main()
