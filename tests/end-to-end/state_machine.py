"""The daily check's definition, and the page that shows it: `docs/daily-check.md` is made from the file."""

import json

from local_aws import ROOT

DEFINITION = ROOT / "statemachine/daily-check.asl.json"
PAGE = ROOT / "docs/daily-check.md"


def definition():
    return json.loads(DEFINITION.read_text(encoding="utf-8"))


def machines(machine):
    """A machine and all within it, the outermost first."""
    yield machine
    for state in machine["States"].values():
        for inner in [*state.get("Branches", []), *([state["ItemProcessor"]] if "ItemProcessor" in state else [])]:
            yield from machines(inner)


def states(machine):
    """All states by name: names are unique in the whole definition."""
    return {name: state for each in machines(machine) for name, state in each["States"].items()}


def page(machine):
    """What the definition says, as a picture and as tables."""
    lines = ["```mermaid", "flowchart TD"]
    draw(machine, "daily check", lines, {})
    lines.append("```")
    everything = states(machine)
    tasks = [(name, state) for name, state in everything.items() if state["Type"] == "Task"]
    rows = ["| task | calls | ends after | if it fails after its retries |", "|---|---|---|---|"]
    for name, state in tasks:
        caught = [catcher["Next"] for catcher in state.get("Catch", [])]
        limit = f"{state['TimeoutSeconds']} s" if "TimeoutSeconds" in state else ""
        what = f"`{caught[0]}`" if caught else "fails what it is part of"
        rows.append(f"| `{name}` | {called(state)} | {limit} | {what} |")
    policies = {}
    for name, state in tasks:
        policies.setdefault(json.dumps(state["Retry"]), []).append(name)
    tries = ["| tasks | error | tried again | waits, s |", "|---|---|---|---|"]
    for policy, names in policies.items():
        for retrier in json.loads(policy):
            errors = ", ".join(f"`{error}`" for error in retrier["ErrorEquals"])
            tries.append(f"| {', '.join(names)} | {errors} | {retrier['MaxAttempts']} times | {waits(retrier)} |")
            names = ["the same"]
    return "\n".join(
        [
            "# The daily check",
            "",
            "Made from `statemachine/daily-check.asl.json` by `tests/end-to-end/state_machine.py`; do not edit.",
            "Why it is so: [architecture](architecture.md#the-daily-check).",
            "",
            *lines,
            "",
            *rows,
            "",
            "## What is tried again",
            "",
            *tries,
            "",
            "Any other error, `InvalidEvent`, `InvalidConfiguration` and `TargetNotReachable` among them, is not.",
            "",
        ]
    )


def draw(machine, title, lines, ids, depth=1):
    """The states of a machine as boxes in a box, with their arrows; returns the ID of the first."""
    pad = "  " * depth

    def of(name):
        return ids.setdefault(name, f"s{len(ids)}")

    box = ids.setdefault(f"machine {len(ids)}", f"m{len(ids)}")
    lines.append(f'{pad}subgraph {box}["{title}"]')
    for name, state in machine["States"].items():
        left, right = {"Choice": ("{", "}"), "Wait": ("([", "])"), "Fail": ("[[", "]]")}.get(state["Type"], ("[", "]"))
        lines.append(f'{pad}  {of(name)}{left}"{name}"{right}')
        inner = [(each, "beside each other") for each in state.get("Branches", [])]
        if "ItemProcessor" in state:
            inner.append((state["ItemProcessor"], "a child for each target"))
        for each, what in inner:
            first = draw(each, what, lines, ids, depth + 1)
            lines.append(f"{pad}  {of(name)} --> {first}")
    for name, state in machine["States"].items():
        arrows = [(state.get("Next"), ""), (state.get("Default"), "|else|")]
        arrows += [
            (each["Next"], f"|{each['Variable']} > {each['NumericGreaterThan']}|") for each in state.get("Choices", [])
        ]
        arrows += [(each["Next"], "|fails|") for each in state.get("Catch", [])]
        lines += [f"{pad}  {of(name)} -->{label} {of(following)}" for following, label in arrows if following]
    lines.append(f"{pad}end")
    return of(machine["StartAt"])


def called(state):
    """What a task calls: a function, or a request of another service."""
    if state["Resource"].endswith(":lambda:invoke"):
        return f"function `{state['Parameters']['FunctionName'].strip('${}')}`"
    return f"`{state['Resource'].rpartition(':::')[2]}`"


def waits(retrier):
    """The seconds before each further attempt, without jitter."""
    interval, most = retrier["IntervalSeconds"], retrier.get("MaxDelaySeconds", 31_622_400)
    return ", ".join(
        str(min(round(interval * retrier.get("BackoffRate", 2) ** n), most)) for n in range(retrier["MaxAttempts"])
    )


if __name__ == "__main__":
    PAGE.write_text(page(definition()), encoding="utf-8")
