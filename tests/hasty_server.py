"""The production server with shorter waits, as `python -m tests.hasty_server`.

The processes that it spawns import this module, too.
"""

import project.asgi  # noqa: F401 - it sets up what is imported below
from files import background
from project import server

background.PATIENCE = 0.3
background.BEAT = 0.3

if __name__ == "__main__":
    server.main()
