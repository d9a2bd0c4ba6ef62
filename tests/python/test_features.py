"""Feature vectors: tables in all forms, keys, missing values."""

import math

import pandas
import penstock.store
import pytest
from hypothesis import given
from hypothesis import strategies as st
from penstock.errors import BadRequest, GraphError, MLRunNotFoundError
from penstock.features import FeatureVector, vector_of

USERS = {"ann": {"age": 31, "visits": 2}, "bob": {"age": None, "visits": 4}}
CSV = "user,age,visits,town\nann,31,2,Rome\nbob,,4.5,Oslo\n"


def frame(**options):
    return pandas.DataFrame({"user": ["ann", "bob"], "age": [31.0, math.nan], "visits": [2, 4]}, **options)


def test_rows_come_in_the_order_of_the_keys_and_of_the_features():
    vector = FeatureVector(USERS)
    assert vector.features == ["age", "visits"]
    assert vector.get(["bob", "ann", "bob"]) == [[None, 4], [31, 2], [None, 4]]
    assert FeatureVector(USERS, features=["visits"]).get(["ann"]) == [[2]]


def test_a_key_may_be_a_dict_with_the_columns_of_the_index():
    vector = FeatureVector(USERS, index="user")
    assert vector.get([{"user": "ann", "amount": 3}]) == [[31, 2]]
    with pytest.raises(BadRequest, match=r"inputs\[1\] has no 'user'"):
        vector.get([{"user": "ann"}, {"name": "ann"}])


def test_several_columns_may_make_the_key():
    rows = [{"shop": 1, "day": "mo", "sales": 5}, {"shop": 2, "day": "mo", "sales": 7}]
    vector = FeatureVector(rows, index=["shop", "day"])
    assert vector.get([{"day": "mo", "shop": 2}, [1, "mo"]]) == [[7], [5]]
    with pytest.raises(BadRequest, match=r"inputs\[0\] is no key: it takes shop, day"):
        vector.get([1])


def test_a_key_without_a_row_is_404_and_named():
    with pytest.raises(MLRunNotFoundError, match="feature vector 'users' has no row for user 'zoe', 'yan'") as caught:
        FeatureVector(USERS, index="user", name="users").get(["zoe", "ann", "yan"])
    assert caught.value.status_code == 404


def test_what_is_no_key_is_400():
    with pytest.raises(BadRequest, match=r"inputs\[0\] is no key"):
        FeatureVector(USERS).get([{"a": [1]}])
    with pytest.raises(BadRequest, match=r"inputs\[0\] is no key"):
        FeatureVector(USERS).get([[]])


def test_rows_without_names_need_them():
    assert FeatureVector({1: [2, 3]}, features=["a", "b"]).get([1]) == [[2, 3]]
    with pytest.raises(GraphError, match="say what they are with features="):
        FeatureVector({1: [2, 3]})
    with pytest.raises(GraphError, match="row of 2 does not have the features"):
        FeatureVector({1: [2, 3], 2: [4]}, features=["a", "b"])


@pytest.mark.parametrize(
    "answer",
    [
        lambda keys: [USERS.get(key) for key in keys],
        lambda keys: {key: USERS[key] for key in keys if key in USERS},
        lambda keys: [list(USERS[key].values()) if key in USERS else None for key in keys],
    ],
)
def test_a_function_may_be_asked(answer):
    vector = FeatureVector(answer, features=["age", "visits"])
    assert vector.get(["bob", "ann"]) == [[None, 4], [31, 2]]
    with pytest.raises(MLRunNotFoundError, match="no row for key 'zoe'"):
        vector.get(["zoe"])
    assert vector.get(["zoe"], vector.fills({"*": 0})) == [[0, 0]]


def test_a_function_that_gives_too_few_rows_fails():
    with pytest.raises(ValueError, match="1 rows for 2 keys"):
        FeatureVector(lambda keys: [[1]]).get([1, 2])


def test_a_function_has_no_statistics():
    with pytest.raises(GraphError, match="has no statistics: give values"):
        FeatureVector(lambda keys: [], features=["a"]).fills({"a": "$mean"})
    with pytest.raises(GraphError, match="say features="):
        FeatureVector(lambda keys: []).fills({"*": 1})


def test_an_async_function_is_refused():
    async def later(keys):
        return []

    with pytest.raises(GraphError, match="async function"):
        FeatureVector(later)


def test_a_data_frame_has_its_key_in_the_index_or_in_columns():
    assert FeatureVector(frame(), index="user").get(["ann"]) == [[31.0, 2]]
    named = FeatureVector(frame().set_index("user"))
    assert (named.index, named.features, named.get([{"user": "ann"}])) == (["user"], ["age", "visits"], [[31.0, 2]])
    with pytest.raises(GraphError, match="say which columns are the key with index="):
        FeatureVector(frame())
    with pytest.raises(GraphError, match="index: the feature table has no usr; it has user, age, visits"):
        FeatureVector(frame(), index="usr")
    with pytest.raises(GraphError, match="features: the feature table has no height"):
        FeatureVector(frame(), index="user", features=["height"])


def test_a_key_with_two_rows_is_refused():
    with pytest.raises(GraphError, match="more than one row of 1"):
        FeatureVector([{"k": 1, "a": 1}, {"k": 1, "a": 2}], index="k")


def test_files_are_read(tmp_path):
    (tmp_path / "users.csv").write_text(CSV)
    vector = FeatureVector(tmp_path / "users.csv", index="user")
    assert vector.get(["ann", "bob"]) == [[31, 2, "Rome"], [None, 4.5, "Oslo"]]
    with pytest.raises(GraphError, match="say which columns of the feature table are the key"):
        FeatureVector(str(tmp_path / "users.csv"))
    with pytest.raises(GraphError, match=r"none.csv' cannot be read"):
        FeatureVector(str(tmp_path / "none.csv"), index="user")
    with pytest.raises(GraphError, match="is no CSV or Parquet file"):
        FeatureVector("users", index="user")


def test_parquet_is_read(tmp_path):
    frame().to_parquet(tmp_path / "users.parquet")
    assert FeatureVector(tmp_path / "users.parquet", index="user").get(["bob"], [1.5, None]) == [[1.5, 4]]


def test_uris_mean_what_was_registered():
    penstock.store.register("store://feature-vectors/tests/users", USERS)
    vector = vector_of("store://feature-vectors/tests/users", index="user")
    assert vector.get(["ann"]) == [[31, 2]]
    made = FeatureVector(USERS)
    penstock.store.register("store://feature-vectors/tests/made", made)
    assert vector_of("store://feature-vectors/tests/made") is made
    with pytest.raises(GraphError, match="is not known here"):
        vector_of("store://feature-vectors/tests/none")


def test_what_is_no_table_is_refused():
    with pytest.raises(GraphError, match="a feature table is a DataFrame, a dict of rows .*, not int"):
        FeatureVector(5)


def test_missing_values_become_what_the_policy_says():
    vector = FeatureVector(USERS | {"cid": {"age": 41, "visits": math.nan}})
    fills = vector.fills({"age": "$mean", "*": 7})
    assert vector.get(["bob", "cid", "nobody"], fills) == [[36.0, 4], [41, 7], [36.0, 7]]


def test_a_key_without_a_row_needs_something_for_every_feature():
    vector = FeatureVector(USERS)
    with pytest.raises(MLRunNotFoundError):
        vector.get(["zoe"], vector.fills({"age": 33}))


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        ({"aeg": 1}, "no feature 'aeg'; did you mean 'age'"),
        ({"age": "$median"}, r"'\$median' is none of \$mean"),
        ({"town": "$mean"}, r"feature 'town' has no numbers to take the \$mean of"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(policy, text):
    with pytest.raises(GraphError, match=text):
        FeatureVector({1: {"age": 3, "town": "Rome"}}).fills(policy)


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1))
def test_statistics_are_those_of_pandas(values):
    stats = FeatureVector({number: {"a": value} for number, value in enumerate(values)}).stats
    there = [value for value in values if value is not None]
    if not there:
        assert stats == {}
        return
    expected = pandas.Series(there).agg(["mean", "min", "max", "std", "count"]).fillna(0.0)
    assert stats["a"] == pytest.approx(expected.to_dict(), rel=1e-6, abs=1e-6)
