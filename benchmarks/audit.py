"""Check the pinned versions against the advisory database of Python packages, by pip-audit.

    python benchmarks/audit.py PIP_AUDIT    # as `make audit` calls it

It fails if a version has a known vulnerability. If the database cannot be reached, it says so in
one line and shows nothing: pip-audit itself reports "no known vulnerabilities" if it gets no
package.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINS = Path(__file__).resolve().parents[1] / "constraints.txt"


def describe(text: str, errors: str) -> tuple[str, bool]:
    """What pip-audit has found, for people, and whether that is well. text: its JSON."""
    try:
        found: list[dict[str, Any]] = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        why = (errors.strip().splitlines() or ["it says nothing"])[-1]
        return f"not audited: the advisory database cannot be reached: {why}", True
    known = [each for each in found if "skip_reason" not in each]
    if not known:
        return f"not audited: the advisory database knows none of {len(found)} packages", True
    lines = [
        f"{each['name']} {each['version']}: {fault['id']},"
        f" fixed in {', '.join(fault['fix_versions']) or 'no version'}"
        for each in known
        for fault in each["vulns"]
    ]
    rest = len(found) - len(known)
    lines.append(
        f"{len(known)} of {len(found)} versions audited, {len(lines)} known faults"
        + (f"; {rest} unknown to the database" if rest else "")
    )
    return "\n".join(lines), len(lines) == 1


def main() -> None:
    command = [sys.argv[1], "--requirement", str(PINS), "--no-deps", "--disable-pip"]
    done = subprocess.run(
        [*command, "--progress-spinner", "off", "--format", "json"], capture_output=True, text=True
    )
    said, well = describe(done.stdout, done.stderr)
    print(said)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
