"""`python3 -m langfuse_stand_in web` or `worker`."""

import sys

from langfuse_stand_in import settings, web, worker

if __name__ == "__main__":
    program = sys.argv[1] if len(sys.argv) > 1 else "web"
    given = settings.checked(program)
    (web if program == "web" else worker).serve(given)
