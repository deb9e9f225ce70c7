"""ChartMogul's own client reads the sandbox as it reads ChartMogul."""

import chartmogul
import pytest

from mogul_assets.sandbox import NO_LIMITS, Sandbox, serve


@pytest.fixture(scope="module")
def config(tame):
    with serve(Sandbox(tame, limits=NO_LIMITS, cursor_semantics="exact")) as serving:
        config = chartmogul.Config("sandbox")
        config.uri = serving.url
        yield config


def everything(config, resource, root, **query):
    page = resource.all(config, **query).get()
    rows = list(getattr(page, root))
    while page.has_more:
        page = resource.all(config, cursor=page.cursor, **query).get()
        rows += getattr(page, root)
    return rows


@pytest.mark.parametrize(
    ("resource", "root", "name", "query"),
    [
        (chartmogul.Customer, "entries", "customers", {}),
        (chartmogul.Contact, "entries", "contacts", {}),
        (chartmogul.Plan, "plans", "plans", {}),
        (chartmogul.PlanGroup, "plan_groups", "plan_groups", {}),
        (chartmogul.Invoice, "invoices", "invoices", {"validation_type": "all", "with_disabled": True}),
        (chartmogul.SubscriptionEvent, "subscription_events", "subscription_events", {"with_disabled": "true"}),
        (chartmogul.Activity, "entries", "activities", {}),
    ],
)
def test_it_reads_all_of_every_list(config, tame, *, resource, root, name, query):
    rows = everything(config, resource, root, per_page=61, **query)
    assert len(rows) == len(getattr(tame, name))
    identity = "id" if name == "subscription_events" else "uuid"
    ours = {getattr(entry.document, identity) for entry in getattr(tame, name)}
    assert {getattr(row, identity) for row in rows} == ours


def test_it_reads_the_account_and_its_sources(config, tame):
    assert chartmogul.Account.retrieve(config).get().currency == "EUR"
    assert chartmogul.Ping.ping(config).get().data == "pong!"
    settings = {"with_processing_status": True, "with_invoice_handling_setting": True}
    sources = chartmogul.DataSource.all(config, **settings).get().data_sources
    assert [source.uuid for source in sources] == [source.uuid for source in tame.data_sources]


def test_it_reads_what_belongs_to_one_customer(config, tame):
    uuid = next(uuid for uuid in tame.members if len(tame.subscriptions(uuid)) > 1)
    assert chartmogul.Customer.retrieve(config, uuid=uuid).get().uuid == uuid
    assert len(chartmogul.CustomerSubscription.all(config, uuid=uuid).get().entries) == len(tame.subscriptions(uuid))
    activities = chartmogul.CustomerActivity.all(config, uuid=uuid).get().entries
    assert len(activities) == sum(entry.document.customer_uuid == uuid for entry in tame.activities)
    invoices = chartmogul.Invoice.all(config, uuid=uuid, validation_type="all", with_disabled=True).get()
    assert invoices.customer_uuid == uuid
    assert len(invoices.invoices) == sum(entry.document.customer_uuid == uuid for entry in tame.invoices)


def test_it_reads_every_metric(config):
    asked = {"start_date": "2026-01-01", "end_date": "2026-09-30", "interval": "month"}
    for metric in (
        "mrr",
        "arr",
        "arpa",
        "asp",
        "customer_count",
        "customer_churn_rate",
        "mrr_churn_rate",
        "ltv",
        "all",
    ):
        assert len(getattr(chartmogul.Metrics, metric)(config, **asked).get().entries) == 9, metric


def test_it_cannot_read_the_wild_pages_which_is_why_they_are_there(company):
    with serve(Sandbox(company, limits=NO_LIMITS)) as serving:
        config = chartmogul.Config("sandbox")
        config.uri = serving.url
        for resource, root in [(chartmogul.Customer, "entries"), (chartmogul.SubscriptionEvent, "subscription_events")]:
            with pytest.raises(Exception, match=r"null|valid"):
                everything(config, resource, root)
