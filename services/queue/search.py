"""Searching experiments by words, and by tags; each by an index."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import ColumnElement, func, literal, literal_column, select
from sqlalchemy.dialects.postgresql import TSQUERY, array
from sqlalchemy.types import String, Text

from services.db.tables import ExperimentRow


def has_words(text: str) -> ColumnElement[bool]:
    """Return the condition that an experiment has every word of a text, or one that begins so.

    Searched are name, owner, tags, note, dataset, recipe, state and the kinds of its networks; letters are large or
    small, and whatever is neither letter nor digit parts two words. A text without words finds nothing.
    """
    word = func.unnest(func.words_of(literal(text, Text)), type_=Text).column_valued("word")
    beginning = func.string_agg(func.quote_literal(word).op("||")(literal_column("':*'")), literal_column("' & '"))
    query = select(beginning.cast(TSQUERY)).scalar_subquery()
    return ExperimentRow.words.bool_op("@@")(query)


def has_tags(tags: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that an experiment has all of some tags."""
    return ExperimentRow.tags.contains(array(list(tags), type_=String(50)))
