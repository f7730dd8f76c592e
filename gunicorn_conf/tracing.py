"""In a clone: `gunicorn -c gunicorn_conf/tracing.py shop:app` records it, with its own gunicorn.conf.py."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))
from server_tracing.gunicorn import configuration  # found through the line above

globals().update(configuration())
