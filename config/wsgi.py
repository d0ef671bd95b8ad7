"""What the web server calls."""

import gc

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

from config.env import apply_settings_module

apply_settings_module()
application = get_wsgi_application()
resolve("/api/v1/orders")  # imports all views now, not in the first customer's request
# What is here now lives as long as the process: code, models, routes. Else each full collection
# walks through all of it, and every request of the process waits.
gc.collect()
gc.freeze()
