import pytest
import requests

from mogul_assets.errors import ConfigurationError
from mogul_assets.sandbox import Fault
from mogul_assets.sandbox.faults import ANSWERS, Faults


def test_a_fault_strikes_as_often_as_it_says_and_then_no_more(serving, reader):
    serving.sandbox.faults.set([Fault(kind="rate_limit", count=2)])
    assert [reader.get("/ping").status_code for _ in range(4)] == [429, 429, 200, 200]


def test_a_fault_strikes_its_path_only_and_spares_the_first_requests(serving, reader):
    serving.sandbox.faults.set([Fault(kind="server_error", path="/plans", after=1)])
    answers = [reader.get(path).status_code for path in ("/ping", "/plans", "/ping", "/plans", "/plans")]
    assert answers == [200, 200, 200, 500, 200]


def test_chances_are_the_same_in_every_run():
    draws = []
    for _ in range(2):
        faults = Faults([Fault(kind="rate_limit", count=None, probability=0.3)])
        draws.append([len(faults.strike("/ping")) for _ in range(200)])
    assert draws[0] == draws[1]
    assert 30 < sum(draws[0]) < 90


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("rate_limit", 429),
        ("request_failed", 402),
        ("too_many_connections", 503),
        ("unknown_error", 520),
        ("origin_timeout", 524),
        ("server_error", 500),
        ("empty_error", 500),
    ],
)
def test_an_answer_comes_instead_of_the_right_one(serving, reader, kind, status):
    serving.sandbox.faults.set([Fault(kind=kind)])
    answer = reader.get("/customers")
    assert (answer.status_code, answer.content) == (status, ANSWERS[kind].body)
    assert "Retry-After" not in answer.headers


def test_the_plain_500_is_the_recorded_text(serving, reader):
    serving.sandbox.faults.set([Fault(kind="server_error"), Fault(kind="empty_error", after=1)])
    assert [reader.get("/ping").text for _ in range(2)] == ["500 Internal Server Error", ""]


def test_a_429_may_say_when_to_come_back(serving, reader):
    serving.sandbox.faults.set([Fault(kind="rate_limit", retry_after=3)])
    assert reader.get("/ping").headers["Retry-After"] == "3"


@pytest.mark.parametrize("kind", ["reset", "truncated"])
def test_a_body_ends_before_its_end(serving, reader, kind):
    serving.sandbox.faults.set([Fault(kind=kind, path="/customers")])
    with pytest.raises(requests.RequestException):
        reader.get("/customers")
    assert reader.get("/customers").status_code == 200


def test_a_reset_is_a_reset_and_a_truncation_is_none(serving, reader):
    reasons = []
    for kind in ("reset", "truncated"):
        serving.sandbox.faults.set([Fault(kind=kind)])
        with pytest.raises(requests.RequestException) as broken:
            reader.get("/customers")
        reasons.append("reset by peer" in str(broken.value))
    assert reasons == [True, False]


def test_a_slow_body_arrives_whole(serving, reader):
    serving.sandbox.faults.set([Fault(kind="slow", seconds=0.2)])
    assert len(reader.json("/customers")["entries"]) == 150


def test_silence_ends_with_a_closed_connection(serving, reader):
    serving.sandbox.faults.set([Fault(kind="silence", seconds=0.2)])
    with pytest.raises(requests.ConnectionError):
        reader.get("/ping")


def test_silence_outlasts_a_readers_patience_and_not_the_server(serving):
    serving.sandbox.faults.set([Fault(kind="silence", seconds=60)])
    with pytest.raises(requests.Timeout):
        requests.get(f"{serving.url}/ping", auth=("sandbox", ""), timeout=0.2)


def test_a_new_field_appears_on_every_row_and_another_is_renamed(serving, reader):
    before = reader.rows("/customers")
    serving.sandbox.faults.set(
        [Fault(kind="patch", path="/customers", count=None, fields={"mood": "fine"}, rename={"email": "e_mail"})]
    )
    after = reader.rows("/customers")
    for old, new in zip(before, after, strict=True):
        assert new["mood"] == "fine"
        assert new["e_mail"] == old["email"]
        assert "email" not in new
    assert "mood" not in reader.rows("/contacts")[0]


def test_activities_are_issued_again_between_two_reads(serving, reader):
    before = reader.activities()
    serving.sandbox.faults.set([Fault(kind="reissue", path="/activities", rows=0)])
    after = reader.activities()
    assert not {row.pop("uuid") for row in before} & {row.pop("uuid") for row in after}

    def key(row):
        return row["date"], row["customer-uuid"], row["activity-mrr"], row["description"], row["plan-external-id"] or ""

    assert sorted(before, key=key) == sorted(after, key=key)


def test_an_amount_is_corrected_when_activities_are_issued_again(serving, reader):
    before = {row["uuid"] for row in reader.activities()}
    amounts = sorted(row["activity-mrr-movement"] for row in reader.activities())
    serving.sandbox.faults.set([Fault(kind="reissue", path="/activities", rows=1)])
    after = reader.activities()
    assert not before & {row["uuid"] for row in after}
    assert sorted(row["activity-mrr-movement"] for row in after) != amounts


def test_an_anchor_is_gone_once_activities_are_issued_again(serving, reader):
    anchor = reader.json("/activities", per_page=10)["entries"][-1]["uuid"]
    serving.sandbox.faults.set([Fault(kind="reissue")])
    assert reader.get("/activities", start__after=anchor).status_code == 404


def test_a_list_changes_while_it_is_paged(serving, reader):
    before = {row["uuid"] for row in reader.rows("/customers", per_page=50)}
    serving.sandbox.faults.set([Fault(kind="life", path="/customers", after=1)])
    paged = {row["uuid"] for row in reader.rows("/customers", per_page=50)}
    after = {row["uuid"] for row in reader.rows("/customers", per_page=50)}
    assert after != before
    assert paged <= before | after


def test_faults_are_set_over_http(serving, reader):
    asked = requests.post(f"{serving.control}/faults", json=[{"kind": "request_failed", "path": "/plans"}], timeout=20)
    assert asked.json()[0]["count"] == 1
    assert [reader.get("/plans").status_code for _ in range(2)] == [402, 200]
    requests.post(f"{serving.control}/faults", json=[], timeout=20)
    assert serving.sandbox.faults.active == []


def test_an_unknown_fault_is_refused_with_those_there_are(serving):
    with pytest.raises(ConfigurationError, match=r"choose from .*rate_limit"):
        Fault(kind="earthquake")
    answer = requests.post(f"{serving.control}/faults", json=[{"kind": "earthquake"}], timeout=20)
    assert answer.status_code == 422
    assert "earthquake" in answer.json()["message"]
