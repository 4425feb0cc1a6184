"""From a folder of photographs to a result: what ``mmseg-ssprompt fit`` and ``predict`` do."""
