"""The escape campaign as everybody it can be run as here, on both of what may hold code.

python -m tests.agent.sandbox.campaign
"""

from __future__ import annotations

import subprocess
import sys

from tests.agent.sandbox.users import WHO, command


def main() -> None:
    """Run it."""
    failed = False
    for who in WHO:
        for arguments in (["--campaign"], ["--backend", "landlock"]):
            print(f"== {who} {' '.join(arguments)}", flush=True)
            run, environment = command(who, ["-m", "tests.agent.sandbox.escapes", *arguments])
            failed |= subprocess.run(run, env=environment, check=False).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
