from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from mogul_assets.sandbox import NO_LIMITS, Limits, Sandbox, serve


def statuses(url, count, parallel):
    def ask(_):
        return requests.get(f"{url}/ping", auth=("sandbox", ""), timeout=20).status_code

    with ThreadPoolExecutor(parallel) as pool:
        return list(pool.map(ask, range(count)))


def first_with(url, status):
    """The first answer of that status among the next few hundred."""
    for _ in range(300):
        answer = requests.get(f"{url}/ping", auth=("sandbox", ""), timeout=20)
        if answer.status_code == status:
            return answer
    return pytest.fail(f"never {status}")


def test_more_requests_than_the_bucket_holds_are_answered_429(company):
    with serve(Sandbox(company, limits=Limits(per_second=5, connections=None))) as serving:
        assert statuses(serving.url, 5, parallel=1) == [200] * 5
        refused = first_with(serving.url, 429)
    assert refused.json()["message"] == "Your request rate has exceeded our rate limit."


def test_an_empty_bucket_fills_again(company):
    with serve(Sandbox(company, limits=Limits(per_second=20, connections=None))) as serving:
        first_with(serving.url, 429)
        first_with(serving.url, 200)


def test_more_connections_than_allowed_at_once_are_answered_503(company):
    with serve(Sandbox(company, limits=Limits(per_second=None, connections=3, latency=0.5))) as serving:
        answers = statuses(serving.url, 12, parallel=12)
    assert set(answers) == {200, 503}
    assert answers.count(200) >= 3


def test_without_limits_nothing_is_refused(company):
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving:
        assert set(statuses(serving.url, 120, parallel=30)) == {200}


def test_the_documented_limits_are_the_default(company):
    assert Sandbox(company).limits == Limits(per_second=40, connections=20, latency=0.0)


@pytest.mark.parametrize(("user", "password", "status"), [
    ("sandbox", "", 200), ("sandbox", "sandbox", 200), ("sandbox", "other", 401), ("other", "", 401),
])  # fmt: skip
def test_the_key_is_the_user_and_the_password_is_empty_or_the_key_again(account, user, password, status):
    assert requests.get(f"{account.url}/ping", auth=(user, password), timeout=20).status_code == status


def test_without_any_authentication_the_answer_is_401(account):
    assert requests.get(f"{account.url}/ping", timeout=20).status_code == 401


def test_every_request_is_noted_with_its_query_and_status(serving, reader):
    reader.get("/plans", per_page=2)
    reader.get("/nowhere")
    noted = [(each.method, each.path, each.query, each.status) for each in serving.requests]
    assert noted == [("GET", "/plans", {"per_page": "2"}, 200), ("GET", "/nowhere", {}, 404)]
    counted = requests.get(f"{serving.control}/requests", timeout=20).json()
    assert counted == {"count": 2, "by_status": {"200": 1, "404": 1}}


def test_answers_are_compressed_only_where_that_is_switched_on(company):
    for gzip in (False, True):
        with serve(Sandbox(company, limits=NO_LIMITS, gzip=gzip)) as serving:
            answer = requests.get(f"{serving.url}/customers", auth=("sandbox", ""), timeout=20)
        assert (answer.headers.get("content-encoding") == "gzip") == gzip
        assert answer.json()["entries"]
