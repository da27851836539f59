"""A small collection of our own for tests that answer: a harbour's handbook, with facts that no model has read."""

from __future__ import annotations

from pathlib import Path

QUESTION = "When is the north gate of Velden harbour closed?"
"""Answered by one sentence of gate.md."""

QUESTIONS = (
    QUESTION,
    "How much does a boat of up to nine metres pay a night?",
    "When does the fish market of Velden open?",
    "How often does the lamp of the lighthouse flash?",
)

STORY = "Write a long story about the harbour master of Velden, the storm, the north gate and the lighthouse."
"""Keeps a model busy until it is stopped."""

PAGES = {
    "storms.md": """# Storms

## Before a storm

Before a storm the harbour master of Velden closes the north gate and hoists two black cones on the
signal mast. Boats of less than nine metres are moved to the inner basin. The harbour master then
rings the bell of the chapel three times, and writes the time and the pressure in the storm log.
Fishing boats that are still at sea are called on channel 14.

## After a storm

After a storm the gate stays closed until a diver has looked at its hinges. The cones are taken down
when the wind has been below six Beaufort for one hour.
""",
    "gate.md": """# The north gate

The north gate of Velden harbour is closed when the waves outside are higher than two metres, and each
night from eleven until five. It is moved by two electric motors; when the power fails, four people can
close it with the hand crank in twenty minutes.
""",
    "fees.md": """# Mooring fees

A boat of up to nine metres pays twelve crowns a night at Velden, a longer one pays twenty. Fees are paid at the
harbour office before noon. Boats that shelter from a storm pay nothing for the first two nights.
""",
    "fish.md": """# The fish market

The fish market of Velden opens at four in the morning on every day but Sunday. Herring is sold by the barrel,
cod by weight. Buyers need a token, which the harbour office lends against a deposit of fifty crowns.
""",
    "light.md": """# The lighthouse

The lighthouse of Velden stands on the Kettle rock and was lit for the first time in 1871. Its lamp shows one
white flash every eight seconds. The keeper winds the clockwork each evening, although it has had a motor since 1958.
""",
}


def write_handbook(folder: Path) -> Path:
    """Write the pages into a folder, as somebody's documents."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in PAGES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder
