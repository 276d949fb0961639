"""Text for the tiny model: little stories from a grammar of our own, the same on every machine.

Each story keeps coming back to its own cast, chosen among 150 names (each one token of GPT-OSS' vocabulary), so that predicting it takes memory of what came
before (attention) and not only of which word follows which. Sums and brackets add relations at a distance.
"""

from __future__ import annotations

import random
from collections.abc import Sequence


def words(text: str) -> tuple[str, ...]:
    """A word list, written as one text."""
    return tuple(text.split())


PEOPLE = words("""
    Adam Agnes Albert Alice Amir Anders Andrea Anita Anna Anton Arthur Ben Bernard Boris Bruno Carla Carlos Carmen Cecilia Chen
    Clara Claude Dan Daniel David Diana Edgar Edith Elena Elias Ella Emil Emma Erik Esther Eva Felix Fiona Francis Frank Gabriel
    George Gloria Grace Greta Gustav Hannah Harold Hassan Helen Henry Hugo Ibrahim Ida Igor Ingrid Irene Isabel Ivan Jack Jakob
    James Jan Jane Jean Joan Johan John Jonas Jorge Joseph Julia Karin Karl Kate Kim Lara Laura Lena Leo Leon Lin Linda Louis
    Lucas Lucia Lucy Luis Marco Maria Marie Mark Marta Martin Mary Matteo Max Maya Mei Mia Michael Mila Miguel Mina Mohamed
    Monica Nadia Naomi Nicolas Nina Noah Nora Olga Oliver Omar Oscar Otto Pablo Paul Paula Pedro Peter Philip Pierre Rafael
    Rachel Ravi Richard Rita Robert Roman Rosa Ruth Sami Samuel Sara Simon Sofia Stefan Stella Susan Sven Thomas Tina Tom Ursula
    Vera Victor Viola Walter Wei Yusuf Zoe""")
NUMBERS = words("""
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen""")
PLACES = words("""
    harbour mill forge market tower bridge orchard quarry library garden chapel kiln stable cellar lighthouse workshop meadow
    courtyard observatory granary""")
THINGS = words("""
    lantern kettle ladder compass basket hammer mirror blanket barrel bell rope map wheel key drum candle saddle plough needle
    anchor bottle shovel violin ledger""")
QUALITIES = words("old small bright heavy broken painted silver wooden strange hollow narrow polished borrowed forgotten")
DEEDS = (("carried", "to"), ("took", "from"), ("hid", "in"), ("found", "near"), ("mended", "behind"), ("painted", "beside"),
         ("sold", "at"), ("left", "under"), ("dropped", "outside"), ("measured", "inside"))
TIMES = ("at dawn", "before noon", "after the rain", "in the evening", "on the third day", "that winter", "once more", "in silence")
REPLIES = ("nodded", "laughed", "refused", "waited", "said nothing", "asked again", "looked away", "agreed")

SENTENCES = 14  # per story


class Storyteller:
    """One stream of stories. Draws come from ``Random.random`` alone, whose sequence Python guarantees for a seed."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed).random

    def _pick(self, options: Sequence[str]) -> str:
        return options[int(self._draw() * len(options))]

    def _thing(self) -> str:
        return f"{self._pick(QUALITIES)} {self._pick(THINGS)}"

    def story(self) -> str:
        """One document, about 900 characters."""
        people = [PEOPLE[int(self._draw() * len(PEOPLE))] for _ in range(3)]
        things = [self._thing() for _ in range(2)]
        places = [self._pick(PLACES) for _ in range(2)]
        lines = [f"This is a story of {people[0]}, {people[1]} and {people[2]}."]
        lines += [self._sentence(people, things, places) for _ in range(SENTENCES - 2)]
        lines.append(f"So ends the story of {people[0]}, {people[1]} and {people[2]}.")
        return " ".join(lines)

    def _sentence(self, people: list[str], things: list[str], places: list[str]) -> str:
        who, other = self._pick(people), self._pick(people)
        thing, place = self._pick(things), self._pick(places)
        kind = self._draw()
        if kind < 0.45:
            verb, where = DEEDS[int(self._draw() * len(DEEDS))]
            return f"{who} {verb} the {thing} {where} the {place} {self._pick(TIMES)}."
        if kind < 0.65:
            return f"{who} gave the {thing} to {other}, and {other} {self._pick(REPLIES)}."
        if kind < 0.8:
            return f"\"Where is the {thing}?\" asked {who}. \"In the {place},\" said {other}."
        left, right = int(self._draw() * 10), int(self._draw() * 10)
        if kind < 0.93:
            return f"{who} counted {NUMBERS[left]} and {NUMBERS[right]}, which makes {NUMBERS[left + right]}."
        return f"The {place} ({left} steps from the {thing}) belonged to {who} [{left}{right}]."


def stories(seed: int, characters: int) -> list[str]:
    """Stories of at least so many characters together; another seed tells other stories with the same people."""
    teller, told, length = Storyteller(seed), [], 0
    while length < characters:
        told.append(teller.story())
        length += len(told[-1])
    return told
