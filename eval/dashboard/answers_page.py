"""Page: what runs answered: nearness to the gold, citations, abstentions, judgements and the judges' fitness."""

from __future__ import annotations

from eval.dashboard.parts import choose_runs, heading, note, show_table
from eval.dashboard.source import Source
from eval.run_tables import answer_table, judged_table, judges_table, triad_table


def show(source: Source) -> None:
    heading("Answers", "Means over the questions that each metric can be said of; an error counts zero.")
    runs = choose_runs(source, "answers")
    means = answer_table(runs)
    if not means:
        if runs:
            note("These runs hold no answers: riddle eval run --answers asks for them.")
        return
    show_table(means)
    for run in runs:
        judged = judged_table(run)
        if not judged:
            continue
        heading("Judgements")
        note(f"{run.name}: failed judgements are counted beside the mean, with what they could do to it.")
        if triad := triad_table(run):
            show_table(triad)
        show_table(judged)
        if known := judges_table(run):
            note("A judge below a balanced accuracy of 0.7 on known cases is unfit: it is shown, and gates nothing.")
            show_table(known)
