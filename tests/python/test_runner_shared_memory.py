"""Values in memory that two processes see."""

from multiprocessing.shared_memory import SharedMemory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from penstock.runner.shared_memory import Segment, pack, unpack


def test_a_segment_without_a_name_can_be_used_and_not_found():
    segment = Segment(100_000)
    other = Segment(name=segment.name)
    segment.forget_name()
    with pytest.raises(FileNotFoundError):
        SharedMemory(segment.name)
    packed = pack(np.arange(10_000))
    segment.write(packed)
    seen = unpack(packed.head, other.views(packed.spans))
    assert seen.sum() == 49_995_000
    assert not other.released()
    del seen
    assert other.released()
    other.close()
    segment.close()


anything = st.recursive(
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | arrays.arrays(
        st.sampled_from(["f4", "f8", "i2", "u1", "?"]), arrays.array_shapes(max_dims=3, max_side=40), fill=st.just(0)
    ).map(lambda array: np.tile(array, (1,) * (array.ndim - 1) + (50,))[..., ::3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(anything)
def test_any_value_is_what_it_was(value):
    packed = pack(value)
    segment = Segment(packed.size) if packed.size else None
    if segment is not None:
        segment.write(packed)
    read = unpack(packed.head, segment.copies(packed.spans) if segment is not None else ())
    np.testing.assert_equal(read, value)
    if segment is not None:
        segment.close()
