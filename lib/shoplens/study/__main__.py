"""Command line of the study: `python -m shoplens.study graph | execute | status | accept-reference | verify`."""

import argparse
import sys
from contextlib import redirect_stdout

from shoplens.errors import StudyError
from shoplens.study.fingerprint import fingerprints
from shoplens.study.plan import load_study, parse_seeds
from shoplens.study.schedule import assess, execute_one, graph


def status(dataset: str, profile: str, seeds: str) -> None:
    """Print a table: run, state, minutes it took, why it is not done."""
    runs = load_study().plan(dataset, profile, parse_seeds(seeds))
    rows = [("run", "state", "minutes", "why")]
    for name, (state, reasons, record) in assess(runs, fingerprints(runs)).items():
        minutes = f"{record['wall_s'] / 60:.1f}" if "wall_s" in record else ""
        rows.append((name, state, minutes, "; ".join(reasons)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    print(f"{dataset}/{profile}")
    for name, state, minutes, why in rows:
        print(f"  {name:<{widths[0]}}  {state:<{widths[1]}}  {minutes:>{widths[2]}}  {why}".rstrip())


def main(arguments: list[str] | None = None) -> int:
    """Do what the command says; exit code 2 with one line on stderr where the request or the study is wrong."""
    parser = argparse.ArgumentParser(prog="python -m shoplens.study", description=__doc__)
    parser.add_argument("command", choices=("graph", "execute", "status", "accept-reference", "verify"))
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--seeds", default="", help="such as '0 1 2'; those of the profile where none are given")
    parser.add_argument("--run", default="", help="this run alone, or with what it needs")
    parser.add_argument("--if-due", action="store_true", help="execute: only a run that is not done")
    chosen = parser.parse_args(arguments)
    where = (chosen.dataset, chosen.profile, chosen.seeds)
    try:
        if chosen.command == "execute":
            return execute_one(*where, chosen.run, chosen.if_due)
        if chosen.command == "verify":
            from shoplens.study.verify import verify  # pandas is slow to import, and only this command reads tables

            return verify(*where, chosen.run)
        if chosen.command == "graph":
            with redirect_stdout(sys.stderr):       # Make reads what is printed: what a download says is not for it
                rules = graph(*where, chosen.run)
            print(rules)
        elif chosen.command == "status":
            status(*where)
        else:
            from shoplens.study.reference import accept_reference

            accept_reference(*where, chosen.run)
    except (StudyError, OSError) as error:      # OSError: a disk that is full, a folder nobody may write to
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
