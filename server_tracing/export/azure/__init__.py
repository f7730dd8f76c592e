"""Azure Application Insights: records as telemetry items, delivered by the ingestion service's own rules.

    record -> envelopes -> payload -> courier (wire, route, tokens) -> answers -> what has to wait

opencensus-ext-azure is a part of this, where it is good: telemetry processors are run by it, on envelopes of
its kind (processors.py); a credential is whatever it takes for one, azure.identity's come with it
(credentials.py); its option names are ours where they mean the same. Where it loses data, our code does the
work. Measured and read in opencensus-ext-azure 1.1.15:

- its Options read a connection string that ends with `;`, has a value with `=`, or a key in capitals, as an
  error, and look into the environment by themselves: config/connection_string.py;
- its exporter starts statsbeat (telemetry to Microsoft, the first of it sent from the constructor), and its
  thread does not survive a fork: export/sending/sender.py has one per worker, born after it;
- its transport drops a batch on quota, on an unknown status, on any network error when statsbeat is off, and
  all of a partial success that it cannot read; does not read Retry-After; opens a connection per batch and
  compresses nothing: courier.py, answers.py;
- its storage keeps batches for seven days where the service takes 48 hours, readable by everybody, and loses
  what is not JSON: export/sending/spool.py;
- its envelopes: exceptions are rejected, roles are called `gunicorn`, counts are wrong under sampling:
  envelopes.py and its neighbours. docs/application-insights.md has the differences field by field.
"""

from .exporter import AzureExporter

__all__ = ["AzureExporter"]
