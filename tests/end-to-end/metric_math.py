"""CloudWatch's metric math and the state of an alarm, as far as the templates need them: the local AWS has neither.

A series is a list with one value a period, `None` where there is no datapoint, the newest last. `SEARCH` gives a tuple
of series. What CloudWatch's user guide says of each function holds here:

- `SUM`, `MIN` and `MAX` of a list of series leave out what is missing; arithmetic with something missing is missing.
- `FILL` puts a number, or the value before, where a datapoint is missing; with no value before, it stays missing.
- `DIFF` is the difference from the datapoint before.
"""

import ast
import operator

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
}


class Expression:
    def __init__(self, text, period=300):
        self.tree, self.period = ast.parse(text, mode="eval").body, period

    def over(self, series):
        """Its value, given the series by their names."""
        self.series = series
        found = [each for value in series.values() for each in (value if isinstance(value, tuple) else (value,))]
        (self.length,) = {len(each) for each in found}
        return self._value(self.tree)

    def _value(self, node):
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return node.id if node.id == "REPEAT" else self.series[node.id]
        if isinstance(node, ast.List):
            return [self._value(each) for each in node.elts]
        if isinstance(node, ast.BinOp):
            return self._each(OPERATORS[type(node.op)], self._value(node.left), self._value(node.right))
        if isinstance(node, ast.Compare):
            compare = OPERATORS[type(node.ops[0])]
            return self._each(lambda a, b: int(compare(a, b)), self._value(node.left), self._value(node.comparators[0]))
        assert isinstance(node, ast.Call)
        return getattr(self, node.func.id)(*(self._value(each) for each in node.args))

    def _each(self, operation, *values):
        """An operation on the values of each period; with one that is an array, on each of its series."""
        for i, value in enumerate(values):
            if isinstance(value, tuple):
                return tuple(self._each(operation, *values[:i], each, *values[i + 1 :]) for each in value)
        rows = zip(*(value if isinstance(value, list) else [value] * self.length for value in values), strict=True)
        return [None if None in row else operation(*row) for row in rows]

    def _over_lists(self, operation, lists):
        rows = ([value for value in row if value is not None] for row in zip(*lists, strict=True))
        return [operation(row) if row else None for row in rows]

    def SUM(self, lists):
        return self._over_lists(sum, lists)

    def MIN(self, lists):
        return self._over_lists(min, lists)

    def IF(self, condition, then, otherwise):
        return self._each(lambda met: then if met else otherwise, condition)

    def FILL(self, series, value):
        if isinstance(series, tuple):
            return tuple(self.FILL(each, value) for each in series)
        filled, before = [], None
        for each in series:
            before = each if each is not None else before
            filled.append(each if each is not None else before if value == "REPEAT" else value)
        return filled

    def DIFF(self, series):
        differences, before = [], None
        for each in series:
            differences.append(None if None in (before, each) else each - before)
            before = each if each is not None else before
        return differences

    def TIME_SERIES(self, value):
        return [value] * self.length

    def EPOCH(self, series):
        return [i * self.period for i in range(len(series))]


def state(alarm, series, evaluation_periods=None, threshold=None):
    """The state that an alarm of a template is in, given the series of its metrics by their IDs.

    `None` is: as before. Where the template has a parameter, the caller says what it is.
    """
    if "Metrics" in alarm:
        watched = [each for each in alarm["Metrics"] if each.get("ReturnData", True)]
        (expression,) = [each["Expression"] for each in watched]
        values = Expression(expression).over(series)
    else:
        (values,) = series.values()
    periods = evaluation_periods or alarm["EvaluationPeriods"]
    needed = alarm.get("DatapointsToAlarm", periods)
    threshold = alarm["Threshold"] if threshold is None else threshold
    breaches = {"GreaterThanThreshold": operator.gt, "LessThanThreshold": operator.lt}[alarm["ComparisonOperator"]]
    newest = values[-periods:]
    there = [value for value in newest if value is not None]
    missing = len(newest) - len(there)
    treatment = alarm["TreatMissingData"]
    if not there and treatment in ("missing", "ignore"):
        return "INSUFFICIENT_DATA" if treatment == "missing" else None
    breaching = sum(breaches(value, threshold) for value in there) + (missing if treatment == "breaching" else 0)
    if treatment in ("missing", "ignore"):
        # What is there decides.
        needed = min(needed, len(there))
    return "ALARM" if breaching >= needed else "OK"
