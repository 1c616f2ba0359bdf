"""The recipes that are shipped, and their schema; :func:`tinynet.recipe.load_recipe` reads them."""
