"""Recipes: functions that return the spec of a paper's system, each number with its section."""

from services.recipes.catalogue import RECIPES, Recipe, laid_over, resolve

__all__ = ["RECIPES", "Recipe", "laid_over", "resolve"]
