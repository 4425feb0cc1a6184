"""From a folder of photographs to a result: the data, the arms, the report and predictions."""
