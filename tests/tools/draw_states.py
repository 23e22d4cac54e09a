"""Print the state diagram of an exchange as Mermaid, drawn from its transition table."""

from __future__ import annotations

from sasl_core.exchange import TRANSITIONS

__all__ = ["diagram"]


def diagram() -> str:
    """The diagram, one line for each transition; CLOSE is left out where it only ends things."""
    lines = ["stateDiagram-v2", "    [*] --> READY"]
    for state, events in TRANSITIONS.items():
        for event, after in events.items():
            if state is not after:
                lines.append(f"    {state.name} --> {after.name}: {event.name}")
    lines += ["    DONE --> [*]", "    ERROR --> [*]"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(diagram(), end="")
