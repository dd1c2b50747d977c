"""`python -m envpool_wrap`: the console script, where that is not on the path."""

from envpool_wrap.cli import main

if __name__ == "__main__":
    main()
