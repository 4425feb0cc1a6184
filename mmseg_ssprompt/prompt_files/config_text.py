"""The text of a config, as mmengine saves it in checkpoints, read without running it."""

import ast
from typing import Any

__all__ = ['read_setting']


def read_setting(text: str, name: str) -> Any:
    """The plain value that the text of a Python config gives to a name.

    Args:
        text: Of the file.
        name: What is assigned at its top level.

    Returns:
        Dicts, lists and tuples of numbers, texts, booleans and None.

    Raises:
        KeyError: If nothing is assigned to ``name``.
        ValueError: If the text is no Python, or the value is not plain.
    """
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and _names(statement) == [name]:
                return ast.literal_eval(_DictCalls().visit(statement.value))
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f'{type(error).__name__}: {error}') from None
    raise KeyError(name)


def _names(statement: ast.Assign) -> list:
    return [target.id for target in statement.targets if isinstance(target, ast.Name)]


class _DictCalls(ast.NodeTransformer):
    """Writes ``dict(a=1)``, as mmengine prints dicts, as the literal ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        is_dict = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        if not is_dict or node.args or not all(keyword.arg for keyword in node.keywords):
            return node  # which literal_eval refuses
        keys = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys=keys, values=[keyword.value for keyword in node.keywords])
