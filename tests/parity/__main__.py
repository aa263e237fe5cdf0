"""``python -m tests.parity --golden DIR [--system NAME] [--case GLOB] [--json] [--parity-root DIR]``.

Exit code 0 when every case passed, 1 when one failed or is of an unknown kind, 2 when there is nothing to run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from tests.parity.runner import Check, Report, find_cases, run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity", description="Compare with stored cases.")
    parser.add_argument("--golden", type=Path, required=True, help="folder with <system>/ or <system>/golden/")
    parser.add_argument("--system", default="", help="only this system")
    parser.add_argument("--case", default="*", help="only cases whose name matches this shell pattern")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    parser.add_argument("--parity-root", type=Path, help="folder with <system>/keys and data ($STUDIO_PARITY_DIR)")
    parser.add_argument("--allow-unknown", action="store_true", help="cases of unknown kinds do not fail the run")
    options = parser.parse_args(arguments)
    if not options.golden.is_dir():
        parser.error(f"no such folder: {options.golden}")
    root = options.parity_root or (Path(os.environ["STUDIO_PARITY_DIR"]) if "STUDIO_PARITY_DIR" in os.environ else None)
    cases = find_cases(options.golden, root, options.system, options.case)
    if not cases:
        print(f"no case files under {options.golden}", file=sys.stderr)
        return 2
    reports = []
    for report in run(cases):
        reports.append(report)
        if not options.json:
            print(describe(report), flush=True)
    count = Counter(r.status for r in reports)
    if options.json:
        document = {"summary": dict(count), "cases": [r.as_json() for r in reports]}
        print(json.dumps(document, indent=1, allow_nan=False))
    else:
        print(", ".join(f"{n} {status}" for status, n in sorted(count.items())))
    bad = count["failed"] + count["error"] + (0 if options.allow_unknown else count["unknown"])
    return 1 if bad else 0


def describe(report: Report) -> str:
    """A case as lines of text: the verdict, then the largest error of every output."""
    head = f"{report.status:8}{report.system}/{report.case}"
    lines = [f"{head}  [{report.kind}] {report.seconds:.1f} s" if report.kind else head]
    lines += [f"    {line}" for line in report.message.splitlines()]
    lines += [_line(check) for check in report.checks]
    return "\n".join(lines)


def _line(check: Check) -> str:
    mark = "ok  " if check.passed else "FAIL"
    note = f"  ({check.note})" if check.note else ""
    return f"    {mark} {check.output:28} {check.measure} {check.error:.3g} (bound {check.tolerance:g}){note}"


if __name__ == "__main__":
    sys.exit(main())
