"""`danlu prompt START DATA`: from a frozen model and rows to a prompt, measured on rows that had no part in it."""

import time
from dataclasses import replace

from danlu.files import replace_json
from danlu.prompt.prompter import Prompter
from danlu.prompt.rules.making import bare
from danlu.prompt.search.ledger import Ledger
from danlu.recipes.preparing.material import say
from danlu.recipes.prompting.choosing import Inquiry, chosen, own, ranking, vectors_of
from danlu.recipes.prompting.ladder import ladder
from danlu.recipes.prompting.measuring import measure, spread_of
from danlu.recipes.prompting.opening import open_scorer
from danlu.recipes.prompting.planning import LOOKS, Plan, brief_from, plan, stands_on
from danlu.recipes.prompting.stage import Prompt
from danlu.recipes.prompting.telling import say_brief, say_found, told, write
from danlu.recipes.prompting.tune import tune
from danlu.recipes.runs.call import Answer, Call
from danlu.recipes.runs.performing import perform
from danlu.report.card import write_card
from danlu.report.run import write_report
from danlu.train.distributed import World
from danlu.voice import Voice

FOUND = "prompts.json"


def prompt(call: Call) -> Answer:
    """The verb, and its actions, which are its first word."""
    if call.words and call.words[0] in ACTIONS:
        return ACTIONS[call.words[0]](replace(call, words=call.words[1:]))
    return choose(call)


def choose(call: Call) -> Answer:
    """Make prompts, rank them, choose one, measure it."""
    return perform(call, "prompt", lambda call: plan(call, Prompt, "prompt"), introduce, carry_out)


def search(call: Call) -> Answer:
    """The same, and looks further: by edits, where no ways are named."""
    named = call.settings.get("search", {})
    if isinstance(named, dict):
        call = replace(call, settings={**call.settings, "search": {"ways": ["edits"], **named}})
    return choose(call)


ACTIONS = {"search": search, "tune": tune, "ladder": ladder}  # without one, a prompt is made and chosen


def introduce(ready: Plan[Prompt], voice: Voice) -> None:
    say(voice, ready.given, ready.made)


def carry_out(ready: Plan[Prompt], voice: Voice, world: World) -> None:
    """Make, rank, choose, vary, measure, write; the rows to test on are touched last."""
    settings, run, made, began = ready.settings, ready.run, ready.made, time.monotonic()
    scorer = open_scorer(settings.start, settings.device, settings.precision)
    brief = brief_from(settings, made)
    say_brief(brief, scorer, voice)
    ledger = Ledger(run.path / LOOKS, stands_on(settings))
    inquiry = Inquiry(settings, scorer, brief, made.training, made.validation or made.training, ledger, voice)
    given = own(inquiry)
    listed, unfit = ranking(inquiry)
    hand = given or listed[0].spec
    found = chosen(inquiry, hand, [each.spec for each in listed[: settings.rules.keep]])
    prompter = Prompter(scorer, found.best.spec, vectors_of(inquiry, found.best))
    say_found(found, settings.limit, voice)
    varied = spread_of(inquiry, [found.best.spec, *(each.spec for each in listed[:3])], prompter.learned)
    write(run, prompter)
    replace_json(run.path / "ledger.json", made.ledger_json(made.ledger))
    rows, part = (made.test, "test") if made.test else (made.validation or made.training, "validation")
    inquiry.note(part, "measure", rows, labels=True)
    measure(run, prompter, hand, bare(brief, scorer.kind), rows, part, voice)
    cost = {"tokens": scorer.tokens_spent, "seconds": round(time.monotonic() - began, 1), "model": scorer.kind}
    replace_json(run.path / FOUND, told(listed, unfit, found, hand) | varied | cost | {"brief": brief.model_dump()})
    write_report(run.path, voice.language)
    write_card(run.path, voice.language)
