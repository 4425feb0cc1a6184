"""Examples are the same in every run, and no machine is too slow for them."""

from hypothesis import HealthCheck, settings

import example_counts

settings.register_profile(
    'repeatable',
    derandomize=True,
    deadline=None,
    max_examples=example_counts.count(25),
    # The scope of mmseg's registries is entered once for all examples of a test.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile('repeatable')
