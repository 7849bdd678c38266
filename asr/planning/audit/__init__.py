"""Does a recipe keep its learning curve when the batch grows? Short paired runs."""
