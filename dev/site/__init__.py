"""What makes a site of the docs: hooks of mkdocs, docstrings as Markdown, notebooks as pages."""
