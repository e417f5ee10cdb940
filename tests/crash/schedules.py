"""Schedules: plans that are not about one call. A line of text each, whose first word says which kind it is."""

import random

import clocks
import restored
import watches

KINDS = {"watch": watches, "clock": clocks, "restored": restored}


def of(text):
    """Who runs this line; None where it is the plan of a call."""
    return KINDS.get(text.partition("/")[0])


def made_from(kind, seed, at_most=None):
    lines = KINDS[kind].every()
    random.Random(seed).shuffle(lines)
    return lines[:at_most]
