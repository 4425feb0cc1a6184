"""The command ``mmseg-ssprompt``: one module for each of its sub-commands."""
